"""English word lists for the tagger: the closed classes whole, and the commonest words of the open ones.

Determiners, prepositions, pronouns, auxiliaries and conjunctions are closed classes: a grammar lists them, and they do
not grow. Verbs, adjectives and adverbs are those that captions use most; what is in no list is judged by its ending
and its place (parts_of_speech.py), and is a noun where nothing speaks against it.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words(
    """
    a an the this that these those some any all both each every either neither no another half such what which
    whatever
    """
)
POSSESSIVES = _words(
    """
    my your his her its our their whose one's someone's
    """
)
PRONOUNS = _words(
    """
    i me mine myself you yours yourself yourselves he him himself she hers herself it itself we us ours ourselves
    they them theirs themselves who whom whoever someone somebody something anyone anybody anything everyone
    everybody everything nobody nothing none there i'm you're he's she's it's we're they're i've you've we've
    they've i'll you'll he'll she'll it'll we'll they'll i'd you'd he'd she'd we'd they'd that's there's what's
    who's here's let's
    """
)
PREPOSITIONS = _words(
    """
    of in on at by with from into onto for to over under above below beneath underneath between betwixt among
    amongst amid amidst through throughout thru during before after behind beside besides near against along
    alongside around across toward towards upon within without about like as despite via per off out up down inside
    outside past beyond until till since than except unlike atop aboard opposite versus vs astride
    """
)
PARTICLES = _words(
    """
    off out up down over around along by in on through across about past inside outside near
    """
)
"""Prepositions that are particles or adverbs of a verb where no phrase follows them: "looks up", "hanging out"."""
CLAUSE_OPENERS = _words(
    """
    before after until till since as than like
    """
)
"""Prepositions that are conjunctions where a subject follows: "before he jumps"."""
CONJUNCTIONS = _words(
    """
    and or but nor so yet & + because although though while whereas if unless whether when whenever where wherever
    why how once
    """
)
AUXILIARIES = _words(
    """
    is are was were be been being am 's 're isn't aren't wasn't weren't has have had having hasn't haven't hadn't
    do does did doing don't doesn't didn't can could will would shall should may might must can't cannot couldn't
    won't wouldn't shouldn't ought
    """
)
NUMBERS = _words(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion
    several many few more most much less least first second third fourth fifth last next other own same various
    numerous multiple enough
    """
)
ADVERBS = _words(
    """
    not very too also just only even still already again always never ever often sometimes now then here away
    together apart ahead aside else almost quite rather really soon today tonight tomorrow yesterday maybe perhaps
    once twice back forward forwards backward backwards upward upwards downward downwards upside indoors outdoors
    overhead nearby everywhere somewhere anywhere nowhere sideways well far instead however therefore thus n't
    downtown abroad ago meanwhile otherwise aloft afar alike altogether anyway online inland offshore aloud yes
    please hi hello wow oh
    """
)
NOT_ADVERBS = _words(
    """
    family fly butterfly dragonfly firefly housefly jelly belly bully lily holly trolley assembly italy july ally
    rally supply reply monopoly anomaly rely apply multiply imply billy sally molly polly kelly emily sicily folly
    gully dolly potbelly melancholy poly barfly
    """
)
"""Nouns and verbs that end as adverbs do."""
LY_ADJECTIVES = _words(
    """
    lovely friendly ugly silly lonely elderly early daily weekly monthly yearly curly hilly bubbly smelly woolly
    wooly cuddly wobbly lively likely holy only deadly costly cowardly heavenly worldly scholarly motherly fatherly
    brotherly orderly chilly frilly prickly sparkly wrinkly wiggly squiggly
    """
)
ING_NOUNS = _words(
    """
    building buildings wedding weddings painting paintings clothing evening evenings morning mornings ceiling
    ceilings king kings ring rings string strings spring springs wing wings thing things swing swings earring
    earrings sling railing railings meeting meetings drawing drawings awning awnings crossing crossings landing
    lightning lighting flooring dressing pudding stuffing icing frosting filling beijing training duckling gosling
    sibling siblings viking darling bedding bedspring offspring shilling sterling wording engineering marketing
    advertising housing ring-ring clearing opening openings ending endings beginning beginnings gathering
    gatherings setting settings parking sightseeing shopping skateboarding snowboarding something nothing
    everything anything being beings living-room dining plumbing lettering tubing decking scaffolding siding
    matting coping planning banking funding pricing hearing warning blessing greeting greetings feeling feelings
    finding findings saying sayings wellbeing understanding
    """
)
"""Nouns that end as present participles do."""
ED_NOUNS = _words(
    """
    bed beds shed sheds sled sleds seed seeds weed weeds reed reeds speed speeds breed breeds feed feeds need needs
    flatbed seabed riverbed bobsled moped biped tweed creed deed steed greed
    """
)
"""Nouns that end as past participles do."""
ADJECTIVES = _words(
    """
    red orange yellow green blue purple pink brown black white gray grey beige teal turquoise maroon navy tan
    golden silver colorful colourful multicolored dark light bright pale vivid big small large little tiny huge
    giant great grand tall short long wide narrow broad thin thick fat slim heavy low high deep shallow old young
    new ancient modern vintage antique classic retro contemporary fresh recent late early elderly middle-aged
    teenage adult good bad better best worse worst nice fine beautiful pretty cute lovely gorgeous handsome ugly
    happy sad angry excited scared proud tired hungry busy lazy calm quiet loud funny silly serious smart clever
    brave shy wild tame rare common popular famous typical traditional local national international foreign global
    public private open closed full empty clean dirty dusty muddy wet dry damp snowy rainy sunny cloudy foggy windy
    stormy grassy sandy rocky rough smooth soft hard sharp flat round square straight steep curly curved hot warm
    cool cold frozen icy raw ripe sweet sour bitter salty spicy delicious tasty healthy sick ill dead alive asleep
    awake blonde blond bald hairy furry fluffy fuzzy shaggy spotted striped shirtless barefoot naked topless bare
    lone single double triple whole entire main major minor left right front rear upper lower top middle central
    northern southern eastern western north south east west urban rural royal real true false free rich poor cheap
    expensive simple plain easy difficult perfect ideal different similar special unique important ready able
    available possible impossible stunning amazing awesome wonderful fantastic incredible magical romantic cozy
    cosy elegant stylish chic casual formal sexy fancy wooden metallic plastic glass stone concrete blank
    transparent clear fake gay massive enormous gigantic vast mini micro super ultra extra total final original
    creative digital electric electronic natural organic fast slow quick rapid sudden strong weak tough tight loose
    safe dangerous crowded lush scenic grim aerial american british english french german italian spanish chinese
    japanese indian african asian european russian mexican greek roman dutch swedish irish scottish canadian
    australian brazilian turkish thai korean arabic christian catholic muslim jewish buddhist hindu victorian
    gothic medieval unhappy unknown unusual senior junior native adjacent near-by distant close neat tidy messy
    torn broken worn lit overweight pregnant male female human own ordinary regular mad crazy weird strange odd
    even blind deaf innocent excellent decent current present absent
    """
)
VERBS = _words(
    """
    like accept ache add admire adopt agree aim allow announce appear applaud approach argue arrive ask attack
    attempt attend balance bark bathe bend bite blow board bounce bow brace break bring brush build burn bury buy
    call capture care carry carve cast catch celebrate challenge chase chat check cheer chew choose clap clean
    climb cling close collide come compete complete connect consider contain continue cook cover crawl create cross
    crouch cry cut cycle dance decide decorate demonstrate depict describe design destroy dig display dive do drag
    draw dribble drift drill drink drive drop dunk eat embrace emerge enjoy enter escape examine exit explain
    explore express extend face fall feature feed feel fetch fight fill find finish fish fix flip float fly fold
    follow frolic gallop gather gaze get give glance glide go grab graze greet grin grind grip grow hang happen
    hang-glide hear help herd hide hike hit hold hop hug hunt hurdle include inspect interact invite join juggle
    jump keep kick kiss kneel knit know laugh launch lay lead lean leap learn leave let lick lie lift light line
    listen live load look lose lounge love lower maintain make manage march meet mount move mow need observe offer
    open operate overlook own pack paddle paint park participate pass pay pedal peek peer perch perform pet pick
    place plant play plunge point pose pour practice practise praise pray prepare present pretend prevent produce
    provide pull punch push put race raise ram reach read receive recline relax release remain remove repair rest
    return reveal ride rise roam roll row run rush sail salute say scale score scream see sell send serve set shake
    share shoot shout show shovel sing sip sit skate skateboard ski skip slam sled sleep slide smell smile smoke
    sniff snow snowboard soak speak spin splash spray spread sprint squat squeeze stack stand stare start stay
    steal step stick stir stop straddle stretch stroll strike struggle study suck support surf surround swim swing
    tackle take talk taste teach tear tell think throw tie toss touch tow train travel trot try tug turn twirl
    twist type use visit wade wait wake walk wander want warm wash watch water wave wear weave weld wind win wipe
    wonder work wrap wrestle write yawn yell click subscribe download upload enlarge zoom browse order ship sign
    login log contact discover save become seem mean believe understand remember forget hope wish guess
    """
)
IRREGULAR_VERBS = _words(
    """
    ate eaten beat beaten became begun began bent bit bitten blew blown broke broken brought built burnt bought
    caught chose chosen came crept cut dealt dug did done drew drawn drank drunk drove driven fell fallen fed felt
    fought found flew flown forgot forgotten froze frozen got gotten gave given went gone ground grew grown hung
    heard hid hidden hit held hurt kept knelt knew known laid led leapt learnt left lent lay lain lit lost made
    meant met paid put rode ridden rang rung rose risen ran said saw seen sold sent set shook shaken shone shot
    shown shut sang sung sank sunk sat slept slid spoke spoken spent spun spread sprang sprung stood stole stolen
    stuck stung struck swore sworn swept swam swum swung took taken taught tore torn told thought threw thrown
    understood woke woken wore worn wove woven won wound wrote written
    """
)
VERBS_FIRST = _words(
    """
    accept admire agree allow appear arrive become believe bring choose come contain continue create decide depict
    describe destroy discover eat emerge enjoy enlarge enter explain forget get give go happen have hear include
    join keep know let lose make meet observe participate perform prepare prevent provide put receive remain
    remember remove reveal say see seem sell send sing sit speak stand subscribe surround take teach tell think
    throw try understand use wait want wear weld write download click overlook lean kneel
    """
)
"""Verbs whose base form is hardly ever a noun."""
