"""The look of a savings report: one style sheet, scoped to its own class.

``&`` stands for the doubled class, which outweighs the table styles of notebooks. Widths are those
of the container, since a notebook's output is narrower than its window.
"""

from __future__ import annotations

__all__ = ["CLASS", "FRAGMENT_STYLE", "PAGE_STYLE"]

CLASS = "ragopt-savings"

_DARK = """
  --rs-page:#121518;--rs-card:#1a1e23;--rs-ink:#e8eaed;--rs-muted:#a3abb6;--rs-rule:#30363e;
  --rs-faint:#69717c;--rs-total:#9aa5b3;--rs-tint:#1d2a29;--rs-save:#4cc79a;--rs-rise:#ff9466;
  --rs-blue:#8ab0ff;--rs-purple:#d09bf2;--rs-amber:#e5b454;--rs-cyan:#5cc4d8;color-scheme:dark;
"""

_SHEET = """
& {
  --rs-page:#f6f7f8;--rs-card:#ffffff;--rs-ink:#1c1f23;--rs-muted:#59616d;--rs-rule:#e1e4e8;
  --rs-faint:#aab0b9;--rs-total:#46505c;--rs-tint:#eff7f4;--rs-save:#0a7d5a;--rs-rise:#b4430b;
  --rs-blue:#2457c5;--rs-purple:#8a3fb5;--rs-amber:#9a6200;--rs-cyan:#0b7285;
  color-scheme:light;container-type:inline-size;box-sizing:border-box;
  background:var(--rs-card);color:var(--rs-ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;
  font-variant-numeric:tabular-nums;overflow-wrap:break-word;text-align:left;
}
@media screen and (prefers-color-scheme: dark) { & {DARK} }
& *, & *::before { box-sizing:border-box; }
& .headline { margin:0;font-size:21px;line-height:1.3;font-weight:400;text-wrap:balance; }
& .headline b { font-weight:700; }
& .good { color:var(--rs-save); }
& .bad { color:var(--rs-rise); }
& h2 { margin:36px 0 10px;font-size:17px;line-height:1.3;font-weight:650;color:inherit; }
& p { margin:6px 0;max-width:76ch; }
& .note { color:var(--rs-muted);font-size:13.5px; }
& .facts { display:grid;grid-template-columns:repeat(4,1fr);gap:0;margin:24px 0 0;padding:0;
  border-top:1px solid var(--rs-rule);border-bottom:1px solid var(--rs-rule); }
& .facts > div { padding:12px 16px; }
& .facts > div + div { border-left:1px solid var(--rs-rule); }
& .facts dt { color:var(--rs-muted);font-size:13px;font-weight:400;margin:0; }
& .facts dd { margin:2px 0 0;font-size:19px;font-weight:600;line-height:1.3;white-space:nowrap; }
& .facts .was { color:var(--rs-muted);font-weight:400; }
& .facts small { display:block;font-size:13px;font-weight:400;color:var(--rs-muted); }
& figure { margin:0;padding:0; }
& svg { display:block;width:100%;height:auto; }
& .narrow { display:none;max-width:480px; }
& .wide { max-width:980px; }
& .scroll { overflow-x:auto; }
& table { border-collapse:collapse;width:100%;margin:0;font-size:13.5px;line-height:1.4;
  border:0;background:none;color:inherit;table-layout:auto; }
& table thead th { color:var(--rs-muted);font-weight:500;font-size:12.5px;vertical-align:bottom;
  padding:3px 7px;text-align:right;border:0;background:none; }
& table thead tr:last-child th { border-bottom:1.5px solid var(--rs-muted); }
& table thead th.group { text-align:center;border-bottom:1px solid var(--rs-rule); }
& table thead th:first-child { text-align:left;padding-left:0; }
& table tbody tr, & table tbody tr:hover, & table tbody tr:nth-child(odd) { background:none; }
& table tbody td, & table tbody th { padding:8px 7px;vertical-align:top;text-align:right;border:0;
  border-bottom:1px solid var(--rs-rule);font-weight:400;background:none;max-width:none; }
& table tbody th { text-align:left;min-width:244px;padding-left:0; }
& table td { white-space:nowrap; }
& table small { display:block;font-size:12px;color:var(--rs-muted);line-height:1.4; }
& table th .name { font-weight:600;font-size:14px; }
& table tbody tr.off td { color:var(--rs-muted); }
& table tbody tr.total th, & table tbody tr.total td { background:var(--rs-tint); }
& table tbody tr.total th { padding-left:8px; }
& table tbody tr.total td { font-weight:600; }
& table tbody tr.total small { font-weight:400; }
& .chip { display:inline-block;margin-left:7px;padding:0 7px;border-radius:9px;font-size:11.5px;
  line-height:17px;font-weight:600;border:1px solid currentColor;white-space:nowrap; }
& .chip.on, & .chip.held { color:var(--rs-save); }
& .chip.off, & .chip.baseline { color:var(--rs-muted); }
& .chip.not-held { color:var(--rs-rise); }
& details { margin:36px 0 0;border-top:1px solid var(--rs-rule);padding-top:12px; }
& summary { cursor:pointer;font-size:17px;font-weight:650; }
& details dl { display:grid;grid-template-columns:max-content minmax(0,1fr);gap:5px 24px;
  margin:14px 0 0;font-size:13.5px; }
& details dt { color:var(--rs-muted);font-weight:400; }
& details dd { margin:0;overflow-wrap:anywhere; }
& ul.pairs { margin:6px 0;padding-left:20px;font-size:13.5px; }
@container (max-width: 1159px) {
  & table { font-size:12.5px; }
  & table small { font-size:11px; }
  & table tbody th, & table tbody td, & table thead th { padding-left:5px;padding-right:5px; }
  & table tbody th { min-width:170px;padding-left:0; }
}
@container (max-width: 979px) {
  & table { font-size:13.5px; }
  & table small { font-size:12px; }
  & table, & table tbody, & table tr, & table tbody th, & table td { display:block;width:auto; }
  & table thead { display:none; }
  & table tbody tr { padding:12px 0 10px;border-bottom:1px solid var(--rs-rule);
    columns:2;column-gap:32px; }
  & table tbody tr.total { background:var(--rs-tint);padding-left:10px;padding-right:10px; }
  & table tbody th, & table tbody tr.total th { border:0;padding:0 0 6px;column-span:all;
    background:none; }
  & table tbody td, & table tbody tr.total td { display:flex;gap:4px 8px;padding:3px 0;border:0;
    background:none;break-inside:avoid;align-items:baseline; }
  & table td::before { content:attr(data-label);flex:1;text-align:left;white-space:normal;
    color:var(--rs-muted);font-weight:400; }
  & table td small { flex:none;min-width:9.7em;text-align:right; }
}
@container (max-width: 699px) {
  & .narrow { display:block; }
  & .wide { display:none; }
  & .facts { grid-template-columns:1fr 1fr; }
  & .facts > div:nth-child(n+3) { border-top:1px solid var(--rs-rule); }
  & .facts > div:nth-child(odd) { border-left:0;padding-left:0; }
  & .facts dd { font-size:17px; }
  & table tbody tr { columns:1; }
  & details dl { display:block; }
  & details dd { margin:0 0 8px; }
}
@media print {
  & { font-size:12px;container-type:normal; }
  & table { font-size:10.5px; }
  & table thead th, & table small, & .chip { font-size:9px; }
  & table th .name { font-size:11.5px; }
  & .wide { max-width:760px; }
  & table tbody td, & table tbody th { padding:4px; }
  & table tbody tr, & figure, & h2 { break-inside:avoid; }
  & h2 { margin-top:24px; }
  & h2, & .note { break-after:avoid; }
  & p { break-inside:avoid; }
  & details dl { font-size:10.5px;gap:2px 24px; }
  & details::details-content { content-visibility:visible;display:block;block-size:auto; }
}
"""

_PAGE = """
html { background:#f6f7f8; }
body { margin:0; }
& { max-width:1260px;margin:32px auto;padding:36px 44px 28px;border:1px solid var(--rs-rule);
  border-radius:10px; }
& .headline { font-size:29px;line-height:1.25;letter-spacing:-.01em; }
& footer { margin-top:28px;color:var(--rs-muted);font-size:12.5px; }
@media screen and (prefers-color-scheme: dark) { html { background:#121518; } }
@media (max-width: 760px) {
  & { margin:0;padding:22px 16px;border:0;border-radius:0; }
  & .headline { font-size:23px; }
}
@page { size:A4 landscape;margin:11mm; }
@media print {
  html { background:none; }
  & { margin:0;padding:0;border:0;max-width:none; }
  & .headline { font-size:22px; }
}
"""

_SCOPE = f".{CLASS}.{CLASS}"
FRAGMENT_STYLE = _SHEET.replace("DARK", _DARK).replace("&", _SCOPE)
PAGE_STYLE = FRAGMENT_STYLE + _PAGE.replace("&", _SCOPE)
