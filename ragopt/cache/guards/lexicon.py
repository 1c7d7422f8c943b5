"""Word lists for the guards: what may be ignored, exchanged for a like word, or never confused.

Data only. The lists are of general English and of technical English; a word list cannot be
complete, and the guards do not count on it being so: a content word that no list knows has to stand
in both questions.
"""

from __future__ import annotations

__all__ = [
    "ANTONYMS",
    "DATE_WORDS",
    "DIRECTIONS",
    "FILLERS",
    "IRREGULARS",
    "NEGATORS",
    "NUMBER_WORDS",
    "ORDINAL_WORDS",
    "STOP_WORDS",
    "SYNONYMS",
    "UNITS",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _heads(text: str) -> dict[str, str]:
    """Each word of a line to the line's first word."""
    table = {}
    for line in text.strip().splitlines():
        head, *others = line.split()
        table.update(dict.fromkeys((head, *others), head))
    return table


# Words of grammar: they carry no subject matter. Prepositions stand here too; their direction is
# the business of the reversal guard, their opposites that of the polarity guard.
STOP_WORDS = _words(
    """
    a an the this that these those there here it its itself i me my mine myself we us our ours
    ourselves you your yours yourself yourselves he him his himself she her hers herself they them
    their theirs themselves one ones oneself someone somebody anyone anybody everyone everybody
    something anything everything thing things stuff
    am is are was were be been being isn aren wasn weren
    do does did done doing don doesn didn
    have has had having haven hasn hadn
    can could may might must shall should will would ought cannot couldn mustn shouldn won wouldn
    ain cant dont doesnt didnt isnt arent wasnt werent wont wouldnt shouldnt couldnt havent hasnt
    d ll m re ve s t im ive whats hows id
    of in on at by for with about between into through during to from out onto upon as
    within toward towards via per across along among amongst around
    and or but vs versus if then else so than too also nor yet while because since until although
    though whether either
    what which who whom whose when where why how whatever whichever
    some such very just really quite rather actually basically exactly simply ever already
    please pls thanks thank hi hello hey ok okay dear
    not no never none nobody nothing nowhere neither without
    u ur r n wanna gonna gotta
    """
)

# Frames of asking: "what is the best way to ...", "can anybody tell me how ...".
FILLERS = _words(
    """
    way ways manner means approach method methods possible possibly possibility able ability
    want wants wanted need needs needed like wish
    tell explain describe know knows knowing understand say wonder wondering suggest recommend
    think thought opinion opinions view views idea ideas advice suggestion suggestions question
    mean means meaning meant meanings definition define
    use uses used using usage utilize utilized utilizing utilization
    get gets getting got gotten give gives giving given go going goes try trying
    kind kinds currently presently now nowadays
    good best better great nice excellent ideal perfect proper properly correct correctly suitable
    easy easily easiest effective effectively efficient efficiently
    example examples instance case cases
    happen happens happened occur occurs
    exist exists different difference differences differ differs
    step steps tip tips trick tricks help helps helping
    certain particular specific various several few lot lots many much more most
    called named known available
    own same other another any become becomes became becoming people person persons
    feel feels feeling find finds finding found considered consider top according truly common
    commonly famous well main mainly still even also
    """
)

SYNONYMS = _heads(
    """
    delete remove erase
    create make build construct produce
    begin start commence
    finish end conclude terminate
    fast quick rapid speedy
    fastest quickest
    faster quicker
    big large huge enormous
    biggest largest
    bigger larger
    small little tiny
    smallest littlest
    picture photo photograph image pic
    movie film
    car automobile
    buy purchase
    cause reason
    effect impact consequence
    assist aid
    fix repair solve resolve
    change modify alter
    convert transform
    obtain fetch retrieve acquire
    show display
    folder directory dir
    argument parameter param arg
    dictionary dict
    integer int
    string str
    boolean bool
    character char
    regex regexp
    configuration config
    variable var
    environment env
    documentation docs
    maximum max maximal
    minimum min minimal
    information info
    application app
    advertisement ad advert
    television tv
    examination exam
    message msg
    library lib
    repository repo
    database db
    authentication auth
    asynchronous async
    synchronous sync
    kid child
    mother mom mum
    usa america american
    uk britain british
    africa african
    argentina argentine argentinian
    asia asian
    australia australian
    austria austrian
    bangladesh bangladeshi
    belgium belgian
    brazil brazilian
    canada canadian
    chile chilean
    china chinese
    colombia colombian
    egypt egyptian
    england english
    europe european
    france french
    germany german
    greece greek
    hungary hungarian
    india indian
    indonesia indonesian
    iran iranian
    iraq iraqi
    ireland irish
    islam islamic
    israel israeli
    italy italian
    japan japanese
    kenya kenyan
    korea korean
    malaysia malaysian
    mexico mexican
    nepal nepali nepalese
    nigeria nigerian
    norway norwegian
    pakistan pakistani
    poland polish
    portugal portuguese
    russia russian
    scotland scottish
    spain spanish
    sweden swedish
    switzerland swiss
    syria syrian
    thailand thai
    turkey turkish
    ukraine ukrainian
    vietnam vietnamese
    father dad
    money cash
    cost price
    error mistake
    allow permit
    forbid prohibit
    choose select pick
    empty blank
    whole entire complete
    several multiple
    primary chief
    important essential crucial
    wrong incorrect
    hard difficult tough
    close shut
    shop store
    job employment
    permission authorization
    distinguish differentiate
    detect discover
    raise throw
    call invoke
    execute run
    supply provide
    immediately instantly
    occurrence appearance
    cope deal
    country nation
    clever smart
    """
)

# An inflected form that no suffix rule reaches, to its base form.
IRREGULARS = {
    form: base
    for line in """
    man men
    woman women
    child children
    person persons
    foot feet
    tooth teeth
    mouse mice
    index indices
    matrix matrices
    vertex vertices
    criterion criteria
    half halves
    life lives
    leaf leaves
    wife wives
    write wrote written
    run ran running
    choose chose chosen
    buy bought
    send sent
    build built
    teach taught
    find found
    lose lost
    keep kept
    hold held
    leave left
    win won
    break broke broken
    take took taken
    see saw seen
    make made
    eat ate eaten
    drive drove driven
    fall fell fallen
    grow grew grown
    throw threw thrown
    meet met
    pay paid
    sell sold
    tell told
    spend spent
    stand stood
    steal stole stolen
    swim swam swum
    sing sang sung
    begin began begun
    die died dying dies
    lie lied lying lies
    speak spoke spoken
    bring brought
    catch caught
    feel felt
    hear heard
    sleep slept
    know knew
    draw drew drawn
    fly flew flown flies
    hide hid hidden
    bind bound
    wake woke woken
    understand understood
    become became
    forget forgot forgotten
    convert conversion conversions
    compare comparison comparisons
    decide decision decisions
    divide division divisions
    describe description descriptions
    extend extension extensions
    expand expansion
    invert inversion
    explain explanation explanations
    subscribe subscription subscriptions
    multiply multiplication
    analyze analyse analysis
    prove proof proofs
    choose choice
    behave behavior
    """.strip().splitlines()
    for base, *forms in [line.split()]
    for form in forms
}

# Sides that exclude one another. Within a side, words of like meaning; "=" asks for that very form
# (`sorted` gives a new list where `sort` works in place).
_ANTONYMS = """
increase raise grow gain rise grew expand boost extend | decrease reduce lower drop shrink \
lose fall cut diminish
gain | lose loss
profit | loss
enable activate allow permit | disable deactivate forbid prevent prohibit deny block disallow
first initial earliest | last final latest | second | third | fourth | fifth | next | previous
before prior | after | during
min minimum minimal minimize least | max maximum maximal maximize most | average median
more | less fewer
most | least fewest
largest biggest greatest highest maximum longest tallest | smallest littlest lowest minimum \
shortest least
longest | shortest
larger bigger greater higher longer | smaller lower shorter lesser
big large huge | small tiny little
long | short
tall | short
high | low
ascending ascend | descending descend
ascend | descend
encode | decode
encrypt | decrypt
encipher | decipher
compress zip | decompress uncompress unzip extract
serialize marshal pickle | deserialize unmarshal unpickle parse
quote | unquote
escape | unescape
wrap | unwrap
pack | unpack
read load | write save store dump
reader | writer
readable | writable
=load | =loads
=dump | =dumps
=sort | =sorted
=reverse | =reversed
=exception | =except
open | close closed shut
start begin commence launch | stop end finish terminate halt quit kill pause
start beginning | end ending
continue resume | stop quit break pause
add insert append include | remove delete subtract exclude drop erase pop discard
append appending | prepend
insert | update | delete | select
left | right
right correct | wrong incorrect
upper uppercase uppercased capital | lower lowercase lowercased
import | export
importer | exporter
sync synchronous synchronously | async asynchronous asynchronously
up | down
into onto | out off
for | against
since | until
above | below
over | under
top | bottom
upward upwards | downward downwards
front | back rear
forward forwards | backward backwards
head | tail
header | footer
prefix | suffix postfix
inside within inner internal interior inward inbound incoming ingress | outside outer external \
exterior outward outbound outgoing egress
inbound | outbound
inner | outer
on | off
true | false
yes | no
always | never | sometimes rarely seldom
all every | none no
many much most | few fewest
both | either | neither
only | also
positive | negative
plus | minus
add sum plus | subtract minus | multiply times product | divide
sum | product | quotient
odd | even
same identical equal similar | different distinct unequal
similarity | difference
like love enjoy | dislike hate
good great best | bad poor worst terrible
better | worse
best | worst
advantage pro benefit merit upside strength plus | disadvantage con drawback demerit downside \
risk weakness
pros | cons
strong | weak
strength | weakness
hot | cold | warm | cool
rich | poor
easy simple easiest simplest | hard difficult complex complicated hardest
easier | harder
fast quick rapid fastest quickest | slow slowest
faster quicker | slower
quickly fast | slowly
wide | narrow
deep | shallow
thick | thin
fat | thin
heavy | light
dark | light
bright | dim
loud | quiet silent
cheap cheapest inexpensive | expensive costly dear
new newest newer recent modern latest | old oldest older ancient
young younger youngest | old older oldest elder
early earlier earliest | late later latest
near nearest close closest | far farthest furthest
succeed success successful pass | fail failure unsuccessful
win | lose | draw
winner | loser
accept approve | reject refuse decline deny
admit | deny
include inclusive inclusively | exclude exclusive exclusively
enter entry entrance | exit leave
enter | exit
arrive arrival | depart departure leave
join | leave split
merge combine join concatenate | split separate divide
attach | detach
connect | disconnect
mount | unmount umount
install | uninstall
load | unload
lock | unlock
subscribe | unsubscribe
register | unregister deregister
follow | unfollow
acquire allocate | release free deallocate
bind | unbind
create make construct | destroy delete drop
push | pop
push | pull
pushing | pulling
enqueue | dequeue
send sending sent transmit | receive receiving received
sender | receiver recipient
upload | download
input | output
source origin | target destination sink
client | server
caller | callee
parent ancestor superclass base | child descendant subclass derived
public | private | protected
local | global | nonlocal
static | dynamic
getter | setter | deleter
=get =gets =getting | =set =sets =setting
producer | consumer
supply | demand
buy buyer purchase | sell seller
import | export
borrow borrower | lend lender
rent | own
employer | employee
landlord | tenant
doctor | patient
teacher teach | student learn pupil
question | answer
ask | answer
host | guest
row | column
horizontal horizontally | vertical vertically
width | height | depth
length | width | height
numerator | denominator
dividend | divisor
union | intersection
parallel concurrently | sequential serial sequentially
absolute | relative
temporary temporarily | permanent permanently
optional | required mandatory compulsory
lazy lazily | eager eagerly
greedy | lazy
signed | unsigned
inclusive | exclusive
singular | plural
clockwise | counterclockwise anticlockwise
full | empty partial
full | half
presence present | absence absent missing
present current | past | future
=will =shall | =did =was =were
visible show display shown unhide | hidden hide invisible
online | offline
manual manually | automatic automatically
domestic | foreign international
legal lawful allowed | illegal unlawful
urban | rural
indoor indoors | outdoor outdoors
alive living live | dead
birth born | death die died
life | death
marry marriage | divorce
awake wake | asleep sleep
wet | dry
clean | dirty
solid | liquid | gas
acid acidic | alkaline base
north northern | south southern | east eastern | west western
northeast | northwest | southeast | southwest
today | yesterday | tomorrow
morning | afternoon | evening | night
day daytime | night nighttime
spring | summer | autumn | winter
daily | weekly | monthly | yearly annually annual | hourly
hour | minute | week | month | year | decade | century
man men male boy guy | woman women female girl lady
he him his | she her hers
husband | wife
boyfriend | girlfriend
brother | sister
son | daughter
father dad | mother mom mum
grandfather | grandmother
uncle | aunt
nephew | niece
king | queen
prince | princess
actor | actress
black | white
debit | credit
asset | liability
introvert introverted | extrovert extroverted
optimist optimistic | pessimist pessimistic
major majority | minor minority
maximum | minimum
ceiling ceil | floor
numeric numerical | alphabetic alphabetical
binary | text textual
bits bit | bytes byte
request | response
ancestor | descendant
predecessor | successor
prev previous preceding | next following succeeding
precede | follow
cause | effect
theory theoretical | practice practical
undergraduate | graduate | postgraduate
beginner novice | expert advanced
cat | dog
vegetarian vegan | carnivore
import | export
mutable | immutable
unicast | multicast | broadcast
encode encoder encoding | decode decoder decoding
lossless | lossy
primary | secondary | tertiary
master | slave replica
active | inactive passive
attack offensive | defend defense defensive
war | peace
love | hate
laugh | cry
friend | enemy
sunrise | sunset
exothermic | endothermic
convex | concave
virtual | physical
wired | wireless
paid | free
truth | lie
trust | distrust
innocent | guilty
tighten | loosen
freeze | thaw melt unfreeze
inhale | exhale
ascent | descent
majority | minority
superior | inferior
maternal | paternal
subset | superset
hardware | software
frontend | backend
"""

Side = tuple[frozenset[str], frozenset[str]]  # (base forms, exact forms)


def _side(text: str) -> Side:
    words = text.split()
    exact = frozenset(word[1:] for word in words if word.startswith("="))
    return frozenset(word for word in words if not word.startswith("=")), exact


ANTONYMS: tuple[tuple[Side, ...], ...] = tuple(
    tuple(_side(side) for side in line.split("|"))
    for line in dict.fromkeys(_ANTONYMS.strip().splitlines())
)

NEGATORS = _words(
    """
    not never no none nobody nothing nowhere neither nor without cannot cant dont doesnt didnt isnt
    arent wasnt werent wont wouldnt shouldnt couldnt havent hasnt hadnt mustnt aint non unable
    hardly barely unless
    """
)

# A word of direction gives the phrase after it a role; two phrases that change roles change the
# question. Words of one value play the same role.
DIRECTIONS = {
    "to": "to", "into": "to", "onto": "to", "towards": "to", "toward": "to", "->": "to",
    "=>": "to", "→": "to", "from": "from", "than": "than", "before": "before", "after": "after",
    "over": "over", "under": "under", "above": "over", "below": "under", "by": "by", "of": "of",
    "in": "in", "inside": "in", "within": "in", "on": "on", "for": "for", "with": "with",
    "without": "without", "not": "not", "as": "as", "via": "via", "through": "via",
    "against": "against", "per": "per", "about": "about", "at": "at", "excluding": "without",
    "except": "without",
}  # fmt: skip

NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
        fifteen sixteen seventeen eighteen nineteen""".split()
    )
} | {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70,
    "eighty": 80, "ninety": 90, "hundred": 100, "thousand": 1000, "million": 10**6,
    "billion": 10**9, "trillion": 10**12, "lakh": 10**5, "lakhs": 10**5, "crore": 10**7,
    "crores": 10**7, "dozen": 12, "twice": 2, "double": 2,
    "triple": 3, "thrice": 3, "hundreds": 100, "thousands": 1000,
    "millions": 10**6, "billions": 10**9,
}  # fmt: skip

ORDINAL_WORDS = {
    word: value
    for value, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(),
        start=1,
    )
}

UNITS = _heads(
    """
    % percent pct percentage
    $ dollar dollars usd bucks
    € euro euros eur
    £ pound pounds gbp lb lbs
    ₹ rupee rupees rs inr
    ¥ yen jpy yuan rmb
    b byte bytes
    bit bits
    kb kilobyte kilobytes
    mb megabyte megabytes
    gb gigabyte gigabytes gig gigs
    tb terabyte terabytes
    pb petabyte petabytes
    kib kibibyte kibibytes
    mib mebibyte mebibytes
    gib gibibyte gibibytes
    kbps
    mbps
    gbps
    hz hertz
    khz kilohertz
    mhz megahertz
    ghz gigahertz
    ns nanosecond nanoseconds
    us microsecond microseconds µs
    ms millisecond milliseconds
    sec second seconds secs
    min minute minutes mins
    hour hours hr hrs
    day days
    week weeks
    month months
    year years yr yrs
    decade decades
    century centuries
    mm millimeter millimeters millimetre millimetres
    cm centimeter centimeters centimetre centimetres
    meter meters metre metres
    km kilometer kilometers kilometre kilometres kms
    inch inches
    feet foot ft
    yard yards
    mile miles
    mg milligram milligrams
    gram grams
    kg kilogram kilograms kilo kilos kgs
    ton tons tonne tonnes
    ml milliliter milliliters millilitre millilitres
    liter liters litre litres
    gallon gallons
    calorie calories kcal
    watt watts
    kw kilowatt kilowatts
    volt volts
    mah
    px pixel pixels
    mp megapixel megapixels
    °c celsius
    °f fahrenheit
    degree degrees °
    """
)

DATE_WORDS = _words(
    """
    january february march april may june july august september october november december
    jan feb mar apr jun jul aug sep sept oct nov dec
    monday tuesday wednesday thursday friday saturday sunday
    """
)
