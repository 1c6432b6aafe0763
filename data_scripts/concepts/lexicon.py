"""Fashion English: what kind of word each word is, and the singular of nouns.

Compact on purpose. Words that a shop uses and this list lacks are found from the shop's own texts (see chunker.py).
A word stands under one kind; `_` joins the words of a fixed expression, which is then one unit of a phrase.

Kinds
    colour material pattern fit adjective occasion    modify a noun; materials and some patterns are nouns as well
    garment part                                      nouns that a phrase may end in
    other                                             nouns that are neither (style, look, day): no phrase ends in them
    container                                         nouns that stand for what precedes them (shirt set, pair of jeans)
    audience number measure adverb                    left out of phrases
    verb preposition conjunction determiner pronoun   end a chunk
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

MODIFIERS = frozenset({"colour", "material", "pattern", "fit", "adjective", "occasion", "modifier"})
NOUNS = frozenset({"garment", "part", "noun"})
BOUNDARIES = frozenset({"verb", "preposition", "conjunction", "determiner", "pronoun", "punctuation"})

# Colours of one word, and the shades that make one colour with the basic colour after them (navy blue).
BASIC_COLOURS = "black white grey gray red blue green yellow orange pink purple violet brown beige gold silver"
OTHER_COLOURS = """navy teal turquoise aqua cyan indigo cobalt azure aquamarine olive khaki lime mint emerald jade sage
moss maroon burgundy crimson scarlet ruby cherry coral salmon peach apricot rust terracotta brick copper bronze amber
mustard ochre saffron lemon cream ivory ecru eggshell champagne nude tan camel taupe fawn sand mocha chocolate espresso
coffee cognac chestnut mahogany charcoal slate graphite anthracite gunmetal lavender lilac mauve plum aubergine
eggplant magenta fuchsia fuschia rose blush wine mulberry orchid periwinkle multi multicolour multicolor multicolored
multicoloured golden rainbow lavendar skin steel pearl off-white rosewood sapphire vermilion onyx oatmeal stone biscuit
cinnamon caramel toffee almond nougat tangerine mango pistachio seafoam heliotrope puce sepia sienna umber vanilla buff
cerise claret oxblood petrol"""
SHADES = {
    "blue": "navy sky royal powder midnight electric ice baby teal turquoise cobalt steel denim petrol indigo aqua sea "
    "dusty prussian sapphire slate cornflower ocean peacock cyan airforce air_force french",
    "green": "olive lime sea bottle forest army mint emerald hunter sage moss military parrot fluorescent grass apple "
    "pista khaki jade leaf pine dusty",
    "grey": "charcoal steel ash slate stone heather silver smoke dove graphite",
    "gray": "charcoal steel ash slate stone heather silver smoke dove graphite",
    "red": "wine brick cherry blood rust coral ruby tomato maroon burgundy rose candy",
    "pink": "hot baby blush rose dusty salmon candy peach coral shocking bubblegum shell",
    "brown": "coffee chocolate tan camel rust chestnut dusty mocha cognac coconut",
    "yellow": "mustard lemon golden canary fluorescent",
    "white": "off ivory cream milk snow pearl",
    "orange": "burnt rust",
    "gold": "rose antique",
    "silver": "antique",
    "purple": "royal",
    "skin": "mushroom",
}
DEPTHS = "light dark deep pale bright pastel neon"  # light blue: one colour, before any colour

MATERIALS = """cotton linen silk wool cashmere denim leather suede satin velvet velveteen polyester nylon viscose rayon
modal spandex elastane lycra acrylic mohair alpaca angora merino fleece flannel corduroy cord canvas chiffon georgette
crepe organza tulle lace mesh twill poplin chambray jersey jacquard brocade tweed terry velour fur shearling sherpa
feather rubber plastic resin metal brass titanium ceramic glass crystal wood bamboo straw raffia jute hemp wicker
leatherette nubuck neoprene gabardine taffeta muslin voile khadi chanderi microfibre microfiber lurex tencel lyocell
cupro ripstop gore-tex crochet knit boucle moleskin seersucker oxford cambric damask felt foam silicone enamel zircon
diamond rhinestone kundan net georgete lambskin sheepskin calfskin cowhide pu polyamide polycotton pashmina pique
stainless_steel sterling_silver faux_leather faux_fur patent_leather vegan_leather french_terry terry_cloth saffiano
nappa bouclé lambswool goatskin cubic_zirconia zirconia ponte scuba suedette glitter marble vermeil platinum aluminium
aluminum wooden woolen woollen leathers chine faux-leather faux-fur broderie poly organic_cotton cable_knit rib_knit
waffle_knit chunky_knit pure_cotton genuine_leather acetate latex vinyl cork horn shell"""

PATTERNS = """cheetah alligator snake striped stripe stripes check checks checked checkered chequered plaid tartan
gingham houndstooth herringbone argyle dotted dot dots spotted floral flower paisley leopard zebra snakeskin tiger
camouflage camo geometric abstract tribal aztec ikat print prints printed graphic logo ombre chevron solid plain
colourblock colorblock colour-block color-block colour-blocked color-blocked colourblocked colorblocked melange marl
heathered heather pinstripe pinstriped windowpane batik bandhani patchwork monogram monogrammed embroidered embroidery
patterned pattern polka_dot polka_dots polka_dotted tie_dye tie_dyed tie-dye tie-dyed colour_block color_block two_tone
two-tone self_design typography botanical tropical animal skull leaf crocodile croc python ocelot cow palm butterfly
bird heart star baroque filigree lattice marbled intarsia watercolor watercolour splatter pixel bandana_print
glen_check prince_of_wales_check"""
# The patterns that a chunk may end in ("tonal stripes"), and that join an adjective before them into one modifier.
PATTERN_NOUNS = """stripe check dot print pattern plaid tartan gingham houndstooth herringbone logo graphic embroidery
pinstripe chevron patchwork monogram camouflage paisley polka_dot argyle typography"""

FITS = """slim knee_high thigh_high ankle_high sling_back mid-calf mid_calf skinny relaxed loose oversized fitted
tailored straight bootcut boot-cut flared flare tapered cropped crop baggy boxy maxi midi mini longline asymmetric
asymmetrical a-line empire peplum bodycon draped pleated gathered ruched wrap shift slim_fit regular_fit relaxed_fit
loose_fit comfort_fit skinny_fit classic_fit modern_fit straight_fit tailored_fit custom_fit athletic_fit oversized_fit
wide_leg straight_leg skinny_leg high_waist high_rise mid_rise low_rise high_waisted mid_waist low_waist knee_length
ankle_length full_length floor_length calf_length three_quarter high_top low_top mid_top high_neck boat_neck
turtle_neck cowl_neck mock_neck halter_neck polo_neck v_neck crew_neck round_neck scoop_neck slip_on slip-on lace_up
lace-up zip_up zip-up pull_on pull-on button_down button-down button_up button-up peep_toe peep-toe open_toe open-toe
pointed_toe pointed-toe round_toe square_toe roll_up roll-up zip_through full_coverage full-coverage push_up push-up
under_wired non_padded single_breasted double_breasted off_shoulder one_shoulder cold_shoulder cut_out cut-out
fit_and_flare drop_waist"""

ADJECTIVES = """horizontal vertical diagonal
short heeled toed sleeved waisted legged necked ornate fancy slender long full half quarter medium
small large big tiny wide narrow thick thin heavy lightweight light dark deep pale bright pastel neon soft smooth
stretch stretchy warm cosy cozy cool breathable waterproof water-resistant windproof quilted padded insulated lined
unlined hooded collared buttoned belted zipped ribbed textured distressed ripped washed faded vintage retro classic
modern contemporary traditional casual formal smart elegant chic sporty athletic bohemian boho romantic feminine
masculine basic simple sheer transparent opaque shiny glossy matte metallic glittery sparkly sequined sequinned beaded
embellished studded fringed tasselled ruffled frilled frilly scalloped smocked shirred layered tiered panelled paneled
pleated sleeveless strapless backless collarless short-sleeved long-sleeved reversible adjustable detachable removable
elasticated elastic woven knitted crocheted braided perforated structured unstructured curved round rounded square
rectangular oval pointed flat chunky sleek raw brushed coated waxed polished antique oversize petite plus-size ethnic
western indian desi urban military nautical preppy punk gothic funky trendy stylish fashionable luxurious luxury
premium delicate dainty bold statement minimal minimalist cute fun playful quirky edgy sexy flattering versatile
comfortable durable sturdy supple crisp fluid flowy flowing floaty airy slouchy semi-formal semi_formal dressy festive
bridal seasonal everyday digital analog analogue automatic mechanical chronograph quartz polarized polarised aviator
wayfarer cat-eye cat_eye oversized rimless full-rim gladiator platform wedge stiletto kitten block chukka chelsea ankle
knee thigh crossbody cross-body sling shoulder messenger convertible bifold two-fold wireless underwired seamless
moulded molded invisible double single triple dual front back side upper lower inner outer high low mid tall contrast
contrasting tonal matching decorative functional practical handmade hand-made handcrafted artisanal organic natural
synthetic faux fake genuine pure real vegan recycled sustainable eco-friendly cargo biker bomber varsity baseball
trucker puffer pencil skater swing circle tulip bell puff bishop cap raglan balloon batwing kimono dolman halter
bandeau racerback spaghetti thermal ski moto utility tactical parka duffle duffel tank tube camisole peasant mandarin
nehru peter_pan shawl notched peaked spread cutaway cuban open closed zip-front button-front drawstring crinkled
crushed creased wrinkle-free stain-resistant quick-dry moisture-wicking patiala churidar anarkali pathani bandhgala
tie-up laser-cut sheath fleece-lined fur-trimmed unisex acid-washed stone-washed stonewashed enzyme-washed bleached
dyed garment-dyed yarn-dyed overdyed felted boiled worsted combed flat-front crew cuffed turn-up rolled frayed raw-edge
hemmed unhemmed sun-faded silver-toned gold-toned gold-plated silver-plated rhodium-plated oxidised oxidized toned tone
mirrored gradient tinted clear translucent fluorescent multi-coloured multicolored patched jewelled jeweled bejewelled
embossed engraved etched debossed hammered crumpled slinky strappy caged buckled laced bowed knotted twisted draped
cinched nipped cutout keyhole plunging racer anti-slip non-slip cushioned orthopaedic ergonomic memory sweetheart
bateau scoop jewel surplice boyfriend mom motorcycle combat muscle hobo bandage duster cocoon slouch palazzo iridescent
holographic irregular fluffy plush hollow geo patent tortoise tortoiseshell clubmaster pilot round-frame ankle-strap
t-strap t-bar d'orsay slide slingback foldover crisscross cubic baggy-fit drop cropped-length pre-owned pointy mirror
long-line strand dangle teardrop chandelier cluster solitaire infinity engagement friendship evil aztec-print tied
three-quarter three-quarter-sleeved half-sleeved full-sleeved cap-sleeved knee-length ankle-length floor-length"""

OCCASIONS = """sports sport running training gym yoga beach party office work summer winter spring autumn fall holiday
evening day night wedding travel football soccer cricket tennis basketball golf rain school weekend lounge sleep
cocktail outdoor hiking trekking walking jogging cycling swimming dance ballet resort festival college laptop tablet
phone mobile coin card passport toiletry make-up makeup cosmetic jewellery jewelry hair nail lip eye face body hand
wrist skate surf snow prom maternity nursing workout fitness motorsport racing skateboarding skateboard gift key"""

GARMENTS = """shirt t-shirt tshirt tee top blouse tunic camisole cami vest waistcoat singlet bodysuit jersey sweater
jumper pullover cardigan sweatshirt hoodie hoody jacket coat blazer parka anorak poncho bralet bandeau bustier cape
cloak gilet overcoat raincoat trench windcheater windbreaker bolero shrug kimono suit tuxedo dress gown frock sundress
nightdress pinafore skirt miniskirt skort culotte culottes jean jeans peacoat duster_coat trousers trouser pants pant
chinos chino shorts leggings legging jeggings jegging tights treggings joggers jogger sweatpants tracksuit jumpsuit
playsuit romper dungarees overalls onesie pyjamas pyjama pajamas pajama nightgown nightie nightwear loungewear robe
bathrobe sleepwear lingerie bra bralette brief briefs panty panties thong boxer boxers trunk trunks underwear corset
slip stocking hosiery sock swimsuit bikini tankini swimwear kaftan caftan sarong sari saree kurta kurti salwar kameez
churidar lehenga dupatta sherwani dhoti lungi choli patiala anarkali abaya hijab kilt bodice capri capris bermuda
bermudas henley polo crewneck turtleneck outerwear activewear sportswear tracktop trackpants leotard tutu apron uniform
costume outfit co-ord knitwear shoe boot sneaker trainer slide slingback sandal slipper loafer moccasin brogue oxford
derby pump heel heels flat flats wedge wedges stiletto mule clog espadrille flip-flop ballerina plimsoll slider bootie
bootee wellington floater mojari jutti jhuti footwear flops sandals bag handbag shopper minaudiere hobo backpack
rucksack purse wallet clutch tote satchel briefcase suitcase luggage trolley pouch holdall duffel duffle wristlet
cardholder haversack knapsack hat cap beanie beret fedora headband bandana bandanna turban visor headwear earmuff scarf
shawl stole muffler snood wrap pashmina glove mitten gauntlet tie bowtie cravat cufflink belt suspenders suspender
brace handkerchief umbrella watch wristwatch sunglasses eyeglasses glasses spectacles goggles ring earring necklace
bracelet bangle pendant brooch anklet choker locket jewellery jewelry tiara chain charm stud hoop hairband hairclip
clip pin scrunchie barrette headscarf mask keychain keyring perfume deodorant deo lipstick lip_gloss nail_polish
eyeliner mascara foundation concealer kajal compact blusher eyeshadow moisturiser moisturizer lotion cleanser toner
shampoo conditioner sunscreen fragrance cologne lacquer gloss"""
# Two garment words side by side, and these, are one head.
COMPOUNDS = """t_shirt mary_jane mary_janes cowboy_boot tee_shirt polo_shirt polo_t-shirt polo_tshirt tank_top crop_top
tube_top halter_top t-shirt_dress shirt_dress blazer_dress jumper_dress sweater_dress wrap_dress pinafore_dress
flip_flop flip_flops ballet_flat ballet_flats tote_bag shoulder_bag messenger_bag duffel_bag duffle_bag gym_bag
crossbody_bag cross-body_bag sling_bag clutch_bag bucket_bag hobo_bag belt_bag bum_bag fanny_pack laptop_bag
laptop_sleeve travel_bag wash_bag trolley_bag mobile_pouch bomber_jacket biker_jacket trucker_jacket puffer_jacket
trench_coat duffle_coat duffel_coat pea_coat rain_jacket rain_coat pencil_skirt track_pants track_pant track_suit
cargo_pants cargo_shorts swim_shorts swimming_costume swim_suit lounge_pants lounge_pant night_suit night_dress
sports_bra sport_bra boxer_shorts boxer_briefs bow_tie pocket_square baseball_cap bucket_hat sun_hat cufflinks_set
salwar_suit salwar_kameez lehenga_choli nehru_jacket key_ring key_chain card_holder hair_band hair_clip hair_accessory
head_band nail_lacquer nail_enamel lip_balm lip_liner lip_colour lip_color lip_glow face_wash face_moisturiser
body_lotion body_butter eye_shadow eye_liner eye_cream eau_de_toilette eau_de_parfum body_spray body_mist body_wash
hand_cream day_cream night_cream face_cream shower_gel face_mask face_pack face_scrub body_scrub sun_screen ankle_boot
ankle_boots chelsea_boot chelsea_boots hiking_boot combat_boot riding_boot rain_boot stud_earring hoop_earring
drop_earring bath_robe shoe_lace shoe_bag sweat_shirt sweat_pants"""

# Two of these side by side are one head: shirt dress, sweater vest.
COMPOUND_FIRST = frozenset(
    """shirt t-shirt tshirt tee sweater jumper blazer coat pinafore kaftan kimono tunic bra tank jean pant trouser slip
    sweatshirt hoodie camisole cardigan""".split()
)
COMPOUND_SECOND = frozenset("dress top jacket suit skirt shirt gown vest coat shorts".split())

PARTS = """sleeve collar neck neckline hem hemline cuff pocket button zip zipper hood lapel waist waistband strap
drawstring lining placket yoke pleat ruffle frill fringe tassel bow buckle sole toe tongue insole outsole midsole lace
eyelet handle clasp flap compartment dial bezel crown frame lens temple band brim pom-pom patch stitching topstitching
seam trim trimming piping panel insert vent slit shoulder leg thigh hip bust chest bodice closure fastening snap rivet
epaulette toggle cutout overlay applique sequin bead gemstone hook loop drawcord rib gusset gather dart tuck tier
flounce keyhole crewneck v-neck crew-neck turtleneck roll-neck rollneck polo-neck scoop-neck boat-neck halterneck nib
rim lug pompom buttonhole press-stud popper velcro footbed shank quarter vamp welt badge tab laces shoelace turn-up heel_tab
heel_counter elastic_waist ribbing knot tail train drape godet ruching smocking shirring pintuck pin-tuck"""

OTHERS = """style eyewear look size piece wardrobe season time year week weekend inch cm way thing item product
collection range line brand label designer model photo picture image colour color shade tone hue fabric material length
width height fit design detail detailing touch feel finish quality comfort care machine water condition box occasion
place moment addition choice option edition version type kind sort fashion trend twist accent effect element feature
favourite favorite staple essential essentials must-have number code delivery price offer sale shop store online home
life love world city street house man-made people friend family body skin hair face hand foot arm head eye lip nail
finger wrist shape silhouette cut drape fall structure texture weight layer edge point centre center top-quality
inspiration wash spirit attitude charm vibe flair elegance warmth protection support movement freedom ease instructions
wearer construction composition percent percentage blend mix combination variety selection accessory accessories
apparel clothing clothes wear garment innerwear kidswear streetwear menswear womenswear attire ensemble generation star
heart dream rock roll music club team league nation tree park avenue company mr mrs miss de la le van von original
originals base hardware storage space interior exterior inside outside bottom part pairing print-on value days nights
hours mood sun sea sky earth air power force zone court field speed classic classics authentic"""
CONTAINERS = "set pack pair combo piece pcs pc kit duo trio bundle assortment"

EVALUATIONS = """new perfect great good best nice ideal ultimate favourite favorite essential must-have other same such
many own available suitable sure extra beautiful gorgeous amazing lovely excellent superb fabulous wonderful stunning
signature original exclusive limited additional final main key total certain several various next last whole entire
easy must only real true few more most less ready right left free special super latest different"""

AUDIENCES = """men man women woman mens womens men's women's unisex girl boy girls boys girl's boy's girls' boys' kid
kids kid's kids' child children children's lady ladies ladies' ladys lady's gents gent gentlemen gentleman's
gentlemen's infant infants baby babies baby's toddler toddlers teen teens teenager junior juniors youth adult adults
male female newborn him her mens' womens' guys"""

DETERMINERS = "a an the this that these those each every any some no all both either neither another"
PRONOUNS = """i you he she it we they me us them my your his its our their mine yours who whom whose which what where
when why how there here one's itself yourself myself themselves everyone everything anything something nothing"""
PREPOSITIONS = """in with of from for on at by to into onto over under through across along around between behind below
above beneath beside besides without within against near up out about as than per via during until till since after
before while if because though although throughout toward towards upon featuring including plus off down like"""
CONJUNCTIONS = "and or & + but nor yet so then n"
VERBS = """is are was were be been being am do does did done have has had having make makes made making wear wears wore
feature features comes come coming go goes going get gets got give gives given add adds added adding keep keeps kept
take takes taken put puts let lets boast boasts bring brings create creates created complete completes hit hits falls
sit sits fasten fastens fastened closes ensure ensures ensuring provide provides providing include includes included
matches showcase showcases enjoy enjoys love loves need needs want wants update updates upgrade elevate elevates
finished crafted constructed fashioned designed inspired decorated adorned enriched accented topped combines combine
combined can will would may might should must could shall cannot can't don't isn't it's you'll you're that's we've i'm
seen shown known styled worn paired team teamed offers offering allow allows allowing lends lend works help helps
helping hugs skims rests moves meets meet says say see use uses used using find finds turn turns play plays show shows
choose choosing remain remains stay stays become becomes define defines defined flatter flatters highlight highlights
reveal reveals exude exudes carry carries hold holds step stand stands match complement complements try tries buy order
shop throw opt grab wear-with"""
ADVERBS = """very too also just even still always never ever now well not really quite rather almost away again back-to
together easily perfectly effortlessly once twice soon often sometimes maybe perhaps instead anywhere everywhere up-to
yet-to ultra"""
MEASURES = """cm mm inch inches kg gm gms gram grams ml ltr litre litres liter oz yard yards metre metres meter x xs xl
xxl xxxl s m l size sizes uk us eu percent pct"""
NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve dozen hundred thousand first second third"
)

# Nouns whose plural is their only form, or whose final s is no plural.
UNCHANGED = frozenset(
    """jeans shorts trousers leggings jeggings treggings tights pants chinos joggers sweatpants dungarees overalls pyjamas
    pajamas panties suspenders sunglasses eyeglasses glasses spectacles goggles culottes
    bermudas trackpants breeches knickers scissors clothes dress address compass lens canvas class glass brass
    cross mass moss boss press gloss wellness fitness sportswear swimwear chaps long_johns bodice iris swiss floss
    waders slacks corduroys cords hotpants sweats earphones headphones series species tennis atlas bias chaos ibis
    loess canvas pampas christmas gas bus plus pancreas damas pyjama ss""".split()
)
IRREGULAR = dict(
    pair.split(":")
    for pair in """scarves:scarf knives:knife shelves:shelf calves:calf halves:half leaves:leaf feet:foot women:woman men:man
    children:child ties:tie neckties:necktie bowties:bowtie bow-ties:bow-tie hoodies:hoodie beanies:beanie booties:bootie
    bootees:bootee onesies:onesie nighties:nightie selfies:selfie scrunchies:scrunchie panties:panties lenses:lens
    briefs:brief trunks:trunk capris:capri axes:axe movies:movie bikinis:bikini
    saris:sari kurtis:kurti lungis:lungi juttis:jutti jhutis:jhuti maxis:maxi minis:mini midis:midi""".split()
)

PATTERN_NOUN_SET = frozenset(entry.replace("_", " ") for entry in PATTERN_NOUNS.split())

# The end of a hyphenated word that makes it an adjective (wide-leg, silver-toned, lace-up).
HYPHEN_ADJECTIVE = frozenset(
    """sleeve sleeved sleeves waist waisted leg legged length fit rise toe toed heel heeled style styled inspired tone
    toned colour coloured color colored lined effect look back front free top on up down off in out dye dyed trim trimmed
    proof resistant friendly weight size shoulder shouldered cut collared hem hemmed layer layered piece pocket button
    buttoned breasted ply way tier tiered washed wash plated ready less edge edged through over neckline rim hood
    hooded""".split()
)
HYPHEN_MATERIAL = frozenset("blend knit mix".split())
HYPHEN_PART = frozenset("neck necks".split())
ADJECTIVE_ENDINGS = ("less", "ful", "ish", "able", "ible", "ous")
NOT_ADVERBS = frozenset("fly belly family ply silly wooly woolly frilly curly jelly lovely friendly july italy".split())


def _words(text: str) -> list[str]:
    return [entry.replace("_", " ") for entry in text.split()]


def singular(word: str) -> str:
    """The singular of an English noun, with what fashion keeps in the plural (jeans, shorts, sunglasses) unchanged."""
    stem, hyphen, last = word.rpartition("-")
    if last in IRREGULAR:
        return stem + hyphen + IRREGULAR[last]
    if last in UNCHANGED or len(last) < 4 or not last.endswith("s") or last.endswith(("ss", "us", "is", "'s")):
        return word
    if last.endswith("ies"):
        single = last[:-3] + "y" if len(last) > 4 else last[:-1]
    elif last.endswith(("sses", "shes", "ches", "xes", "zzes")):
        single = last[:-2]
    else:
        single = last[:-1]
    return stem + hyphen + single


@dataclass
class Lexicon:
    """Kind of every known word and fixed expression.

    Args:
        kinds: word -> kind, lower-case.
        expressions: first word -> fixed expressions that start with it, longest first, as (words, kind).
    """

    kinds: dict[str, str] = field(default_factory=dict)
    expressions: dict[str, list[tuple[tuple[str, ...], str]]] = field(default_factory=dict)

    def add(self, entry: str, kind: str) -> None:
        """Make a word, or an expression of several, known; what was known under this name before is replaced."""
        words = tuple(entry.split())
        if len(words) == 1:
            self.kinds[entry] = kind
            return
        known = [(w, k) for w, k in self.expressions.get(words[0], []) if w != words]
        self.expressions[words[0]] = sorted([*known, (words, kind)], key=lambda one: (-len(one[0]), one[0]))

    def copy(self) -> Lexicon:
        return Lexicon(dict(self.kinds), {first: list(found) for first, found in self.expressions.items()})

    def kind(self, word: str) -> str | None:
        """The kind of a word by the list, by its singular, or by the way it is built; None when it says nothing."""
        known = self.kinds.get(word)
        if known is not None:
            return known
        single = singular(word)
        if single != word and self.kinds.get(single) in ("garment", "part", "noun", "other", "container", "occasion"):
            return self.kinds[single]
        return self._built(word)

    def _built(self, word: str) -> str | None:
        if "-" in word:
            last = word.rsplit("-", 1)[1]
            if last in HYPHEN_PART:
                return "part"
            if last in HYPHEN_MATERIAL:
                return "material"
            if last in HYPHEN_ADJECTIVE:
                return "adjective"
            kind = self.kinds.get(last) or self.kinds.get(singular(last))
            if kind in ("colour", "material", "pattern", "garment"):
                return kind
            return "adjective" if kind == "adjective" or _is_participle(last) else None
        if word.endswith("ly") and len(word) > 4 and word not in NOT_ADVERBS:
            return "adverb"
        if len(word) > 5 and word.endswith(ADJECTIVE_ENDINGS):
            return "adjective"
        return "adjective" if _is_participle(word) else None


def _is_participle(word: str) -> bool:
    return bool(len(word) > 4 and re.fullmatch(r"[a-z]*[aeiouy][a-z]*[^aeiou\W]ed|[a-z]*[aeiouy][a-z]*[ui]ed", word))


@lru_cache(maxsize=1)
def _default() -> Lexicon:
    lexicon = Lexicon()
    lists = [
        ("other", OTHERS),
        ("evaluation", EVALUATIONS),
        ("occasion", OCCASIONS),
        ("adjective", ADJECTIVES),
        ("fit", FITS),
        ("part", PARTS),
        ("material", MATERIALS),
        ("pattern", PATTERNS),
        ("garment", GARMENTS),
        ("garment", COMPOUNDS),
        ("colour", OTHER_COLOURS),
        ("colour", BASIC_COLOURS),
        ("container", CONTAINERS),
        ("verb", VERBS),
        ("adverb", ADVERBS),
        ("measure", MEASURES),
        ("number", NUMBERS),
        ("audience", AUDIENCES),
        ("determiner", DETERMINERS),
        ("pronoun", PRONOUNS),
        ("preposition", PREPOSITIONS),
        ("conjunction", CONJUNCTIONS),
    ]
    for kind, text in lists:  # a later list wins
        for entry in _words(text):
            lexicon.add(entry, kind)
    colours = [word for word, kind in lexicon.kinds.items() if kind == "colour"]
    pairs = [f"{shade} {basic}" for basic, shades in SHADES.items() for shade in _words(shades)]
    for pair in pairs:
        lexicon.add(pair, "colour")
    for depth in DEPTHS.split():
        for colour in [*colours, *(p for p in pairs if len(p.split()) == 2)]:
            if colour.split()[0] != depth:
                lexicon.add(f"{depth} {colour}", "colour")
    for colour in colours:
        for ending in ("coloured", "colored", "toned", "tone"):
            lexicon.add(f"{colour} {ending}", "colour")
    return lexicon


def default_lexicon() -> Lexicon:
    """A fresh copy of the built-in word lists."""
    return _default().copy()
