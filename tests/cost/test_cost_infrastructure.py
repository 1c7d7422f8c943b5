from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragopt.cost import (
    Infrastructure,
    Instance,
    PriceSheet,
    cheapest_instance,
    fleet_monthly,
    monthly_marginal,
)
from ragopt.errors import InputError, UnknownPrice

D = Decimal

GIB, GB = 2**30, 10**9
SHEET = Infrastructure.default()


def only(*names):
    return Infrastructure(
        instances=[SHEET.instance(name) for name in names], units=SHEET.units, stores=SHEET.stores
    )


@pytest.mark.parametrize(
    ("name", "vcpu", "ram", "nvme", "usd"),
    [
        ("r7g.2xlarge", 8, 64, 0, "0.4284"),
        ("r8g.4xlarge", 16, 128, 0, "0.9426"),
        ("c7g.2xlarge", 8, 16, 0, "0.29"),
        ("i7ie.2xlarge", 8, 64, 5000, "1.0396"),
        ("r7g.large", 2, 16, 0, "0.1071"),
    ],
)
def test_listed_instances(name, vcpu, ram, nvme, usd):
    found = SHEET.instance(name)
    assert (found.vcpu, found.ram_gib, found.nvme_gb) == (vcpu, ram, nvme)
    assert found.usd_per_hour == D(usd)
    assert found.usd_per_month == D(usd) * 730


@pytest.mark.parametrize(
    ("name", "usd"),
    [
        ("ram_gib_month", "2.1"),
        ("vcpu_month", "22"),
        ("nvme_gb_month", "0.09"),
        ("gp3_gb_month", "0.08"),
        ("gp3_iops_month", "0.005"),
        ("s3_gb_month", "0.023"),
        ("s3_get", "4e-7"),
        ("s3_put", "5e-6"),
    ],
)
def test_unit_prices(name, usd):
    assert SHEET.unit_price(name).usd == D(usd)


def test_every_row_says_where_it_comes_from():
    for row in (*SHEET.instances, *SHEET.units, *SHEET.stores):
        assert all((row.source, row.as_of, row.region, row.unit, row.confidence))


def test_derived_instances_are_in_proportion_and_say_so():
    derived = [row for row in SHEET.instances if row.confidence == "derived"]
    assert len(derived) == 10
    for row in derived:
        parent = SHEET.instance(row.name.split(".")[0] + ".2xlarge")
        assert parent.confidence == "listed"
        assert parent.name in row.reason
        assert row.usd_per_hour * parent.vcpu == parent.usd_per_hour * row.vcpu
        assert row.ram_gib * parent.vcpu == parent.ram_gib * row.vcpu


def test_unknown_rows_name_the_known():
    for look_up in (SHEET.instance, SHEET.unit_price, SHEET.store):
        with pytest.raises(UnknownPrice, match=r"'p9\.giant': not on the sheet; known: "):
            look_up("p9.giant")


def test_ten_million_vectors_of_1536_floats_cost_120_dollars_of_ram():
    cost = monthly_marginal(10_000_000 * 1536 * 4, 0, 0)
    assert round(cost.ram_usd) == 120
    assert cost.total_usd == cost.ram_usd


def test_marginal_breakdown_by_hand():
    cost = monthly_marginal(2 * GIB, 100 * GB, 1.5)
    assert (cost.ram_usd, cost.disk_usd, cost.vcpu_usd) == (D("4.2"), D(9), D(33))
    assert cost.total_usd == D("46.2")


def test_network_disk_bills_iops_beyond_the_included():
    assert monthly_marginal(0, GB, 0, iops=3000, medium="gp3").total_usd == D("0.08")
    assert monthly_marginal(0, GB, 0, iops=5000, medium="gp3").iops_usd == D(10)
    assert monthly_marginal(0, GB, 0, iops=5000).iops_usd == 0


@pytest.mark.parametrize(
    "arguments",
    [(-1, 0, 0), (0, 1.5, 0), (0, 0, float("nan")), (0, 0, -1), (True, 0, 0), (0, 0, "2")],
)
def test_bad_amounts_are_named(arguments):
    with pytest.raises(InputError, match=r"(ram_bytes|disk_bytes|vcpus)="):
        monthly_marginal(*arguments)
    with pytest.raises(InputError, match=r"(ram_bytes|disk_bytes|vcpus)="):
        cheapest_instance(*arguments)


def test_unknown_medium_is_refused():
    with pytest.raises(InputError, match="medium='tape'"):
        monthly_marginal(0, 0, 0, medium="tape")


@pytest.mark.parametrize(
    ("ram", "disk", "vcpus", "name", "count"),
    [
        (0, 0, 0, "c7g.medium", 1),
        (2 * GIB, 0, 1, "c7g.medium", 1),
        (2 * GIB + 1, 0, 1, "r7g.medium", 1),
        (8 * GIB, 0, 1.01, "r7g.large", 1),
        (8 * GIB + 1, 0, 1, "r7g.large", 1),
        (64 * GIB, 0, 8, "r7g.2xlarge", 1),
        (64 * GIB, 0, 8.5, "r7g.medium", 9),
    ],
)
def test_cheapest_instance_at_the_seams(ram, disk, vcpus, name, count):
    found, number = cheapest_instance(ram, disk, vcpus)
    assert (found.name, number) == (name, count)


def test_local_disk_is_used_before_network_disk():
    local = SHEET.instance("i7ie.2xlarge")
    cost = fleet_monthly(local, 2, 12_000 * GB)
    assert cost.gp3_gb == 2000
    assert cost.gp3_usd == 160
    assert cost.total_usd == local.usd_per_month * 2 + 160
    assert fleet_monthly(local, 2, 10_000 * GB).gp3_usd == 0


def test_more_instances_are_taken_for_their_disk_when_that_is_cheaper():
    cheap = Instance(
        name="disk", vcpu=1, ram_gib=1, nvme_gb=1000, usd_per_hour=D("0.01"),
        source="s", as_of="2026", region="r", unit="u", confidence="user",
    )  # fmt: skip
    sheet = Infrastructure(instances=[cheap], units=SHEET.units, stores=())
    assert cheapest_instance(0, 10_000 * GB, 1, sheet=sheet)[1] == 10
    assert cheapest_instance(0, 10_050 * GB, 1, sheet=sheet)[1] == 10
    assert cheapest_instance(0, 10_500 * GB, 1, sheet=sheet)[1] == 11


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**42), st.integers(0, 2**45), st.floats(0, 200))
def test_cheapest_is_the_cheapest_of_all_that_hold_the_load(ram, disk, vcpus):
    found, count = cheapest_instance(ram, disk, vcpus)
    assert found.ram_gib * GIB * count >= ram
    assert found.vcpu * count >= vcpus
    total = fleet_monthly(found, count, disk).total_usd
    for other in SHEET.instances:
        number = max(1, -(-ram // (other.ram_gib * GIB)), int(-(-vcpus // other.vcpu)))
        for more in range(number, number + 3):
            assert total <= fleet_monthly(other, more, disk).total_usd


def test_own_sheet_and_empty_sheet():
    assert cheapest_instance(GIB, 0, 1, sheet=only("r8g.4xlarge"))[0].name == "r8g.4xlarge"
    with pytest.raises(UnknownPrice, match="lists no instance"):
        cheapest_instance(0, 0, 0, sheet=only())


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_fleet_needs_an_instance(count):
    with pytest.raises(InputError, match="count="):
        fleet_monthly(SHEET.instance("r7g.large"), count, 0)


@pytest.mark.parametrize(
    ("store", "amounts", "usd"),
    [
        ("s3-vectors", {"gb_month": 10, "million_queries": 2}, "5.6"),
        (
            "pinecone-serverless",
            {"gb_month": 1, "million_read_units": 1, "million_write_units": 0},
            "50",
        ),
        (
            "pinecone-serverless",
            {"gb_month": 100, "million_read_units": 10, "million_write_units": 1},
            "197",
        ),
        ("turbopuffer", {"gb_month": 10, "pb_queried": 0.5}, "16"),
        ("turbopuffer", {"gb_month": 100, "pb_queried": D("0.5")}, "33.5"),
        ("zilliz-serverless", {"million_vcu": 3}, "12"),
        ("qdrant-cloud", {"ram_gib_month": 8}, "104"),
    ],
)
def test_managed_stores_bill_their_units_and_minimum(store, amounts, usd):
    assert SHEET.store(store).monthly(**amounts) == D(usd)


def test_managed_store_units_left_out_are_not_free():
    store = SHEET.store("pinecone-serverless")
    with pytest.raises(UnknownPrice, match="expected all of gb_month, million_read_units"):
        store.monthly(gb_month=1)
    with pytest.raises(UnknownPrice, match="and no other"):
        store.monthly(gb_month=1, million_read_units=1, million_write_units=1, pods=1)
    with pytest.raises(InputError, match="gb_month="):
        store.monthly(gb_month=-1, million_read_units=1, million_write_units=1)
    assert SHEET.store("turbopuffer").minimum_gb_per_query == D("1.28")


def test_hash_and_repr():
    assert SHEET.hash == Infrastructure.default().hash != only("r7g.large").hash
    assert PriceSheet.default().infrastructure is SHEET
    assert repr(only("r7g.large")) == "Infrastructure(1 instances, 8 unit prices, 5 managed stores)"
