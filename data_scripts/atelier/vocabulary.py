"""The words of the world: colours, patterns, fabrics, ordered attributes and the sub-categories with what they allow.

Everything that can be said about a garment is listed here, so that drawing, captions and the symbolic oracle agree.
"""

from dataclasses import dataclass, field

#: Colour name -> sRGB. Names are what a shopper would say.
COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (38, 38, 43),
    "white": (247, 247, 245),
    "gray": (150, 153, 158),
    "charcoal": (78, 80, 88),
    "navy": (30, 42, 92),
    "blue": (42, 94, 198),
    "light blue": (152, 198, 234),
    "teal": (18, 126, 132),
    "mint": (166, 222, 196),
    "green": (44, 142, 76),
    "olive": (110, 114, 56),
    "yellow": (249, 220, 74),
    "mustard": (208, 156, 36),
    "orange": (240, 126, 36),
    "coral": (246, 128, 112),
    "red": (208, 34, 44),
    "burgundy": (118, 26, 48),
    "hot pink": (228, 46, 134),
    "pink": (246, 170, 194),
    "lavender": (196, 178, 228),
    "purple": (112, 60, 152),
    "brown": (112, 74, 48),
    "tan": (204, 172, 132),
    "cream": (242, 230, 204),
}

#: How often a colour is worn: a shop sells more black than coral, so a colour word alone never settles a query.
COLOUR_WEIGHTS: dict[str, float] = {
    "black": 10, "white": 9, "gray": 6, "charcoal": 2, "navy": 6, "blue": 6, "light blue": 4, "teal": 2, "mint": 2,
    "green": 4, "olive": 3, "yellow": 3, "mustard": 2, "orange": 2, "coral": 2, "red": 7, "burgundy": 3, "hot pink": 2,
    "pink": 5, "lavender": 2, "purple": 3, "brown": 3, "tan": 3, "cream": 3,
}  # fmt: skip

#: Pattern -> (adjective, noun with {c} for the second colour). "solid" has no second colour.
PATTERNS: dict[str, tuple[str, str]] = {
    "solid": ("solid", "a solid color"),
    "horizontal stripes": ("horizontally striped", "{c} horizontal stripes"),
    "vertical stripes": ("vertically striped", "{c} vertical stripes"),
    "diagonal stripes": ("diagonally striped", "{c} diagonal stripes"),
    "polka dots": ("polka dotted", "{c} polka dots"),
    "gingham": ("checked", "a {c} gingham check"),
    "plaid": ("plaid", "a {c} plaid pattern"),
    "floral": ("floral", "a {c} floral print"),
    "zigzag": ("zigzag patterned", "a {c} zigzag pattern"),
    "color block": ("color blocked", "a {c} color block"),
    "argyle": ("argyle", "a {c} argyle pattern"),
    "animal print": ("animal print", "a {c} animal print"),
}

FABRICS = ("cotton", "linen", "denim", "knit", "wool", "corduroy", "satin", "leather", "nylon")

# Attributes with an order, smallest first: "longer", "more fitted", "a higher heel" are read from the position.
SLEEVES = ("sleeveless", "cap", "short", "elbow", "three-quarter", "long")
LENGTHS = ("cropped", "waist", "hip", "thigh", "knee", "midi", "maxi")
FITS = ("slim", "regular", "loose")
HEELS = ("flat", "low", "high")
STRAPS = ("none", "short", "long")
ORDERED: dict[str, tuple[str, ...]] = {
    "sleeve": SLEEVES, "length": LENGTHS, "fit": FITS, "heel": HEELS, "strap": STRAPS,
}  # fmt: skip

SLEEVE_STYLES = ("regular", "puff", "bell")
NECKLINES = (
    "crew", "v-neck", "scoop", "square", "boat", "turtleneck", "collar", "band collar", "lapel", "hood", "straps",
    "sweetheart", "halter", "off-shoulder",
)  # fmt: skip
CLOSURES = ("none", "buttons", "zip", "laces", "buckle", "tie")
DETAILS = ("none", "belt", "bow", "ruffles", "contrast trim", "fringe", "pompom", "band", "tassel")
GRAPHICS = ("none", "star", "heart", "sun", "wave", "lettering")
STYLES = ("classic", "casual", "sporty", "romantic", "bohemian", "street", "business", "party")
SEASONS = ("spring", "summer", "autumn", "winter")

#: Every attribute a picture shows and a caption may speak of, in the order in which differences are listed.
VISIBLE = (
    "colour", "pattern", "second_colour", "sleeve", "sleeve_style", "neckline", "length", "fit", "closure", "buttons",
    "pockets", "detail", "graphic", "heel", "strap", "fabric",
)  # fmt: skip

ALL = tuple(PATTERNS)
_LIGHT = ("solid", "horizontal stripes", "vertical stripes", "polka dots", "floral", "zigzag", "color block", "gingham")
_BOLD = ("solid", "polka dots", "floral", "animal print", "diagonal stripes", "zigzag")
_KNITTED = ("solid", "horizontal stripes", "argyle", "zigzag", "color block", "polka dots")
_WOVEN = ("solid", "vertical stripes", "gingham", "plaid", "polka dots", "floral", "horizontal stripes")


@dataclass(frozen=True)
class SubCategory:
    """One kind of garment and the values its attributes may take; an attribute that is not listed does not exist on it.

    Attributes:
        name: what a shop calls it.
        category: one of `CATEGORIES`.
        choices: attribute -> allowed values. One value is a constant of the kind, several may vary inside a design.
        formality: 0 (sport) to 4 (gala); used for outfits.
        styles: the styles a design of this kind may have.
        wearer: "women", "men" or "unisex".
        warmth: 0 (beach) to 3 (snow), before fabric and sleeves are counted.
    """

    name: str
    category: str
    choices: dict[str, tuple]
    formality: int = 1
    styles: tuple[str, ...] = ("casual", "classic")
    wearer: str = "women"
    warmth: int = 1
    silhouette: str = field(default="")


@dataclass(frozen=True)
class Category:
    """A department of the shop.

    Attributes:
        name: singular, as a caption says it.
        slot: the place in an outfit; two garments of one slot are never worn together.
        fashioniq: the official FashionIQ category under which it is written, None when it has none there.
    """

    name: str
    slot: str
    fashioniq: str | None


#: Atelier category -> outfit slot and FashionIQ category. FashionIQ knows only three names: "dress" takes everything
#: worn from the waist or shoulders down as one flowing piece, "shirt" everything that opens in front and has a collar,
#: "toptee" everything pulled over the head. Legwear and accessories have no FashionIQ name and live in the CIRR tree.
CATEGORIES: dict[str, Category] = {
    c.name: c
    for c in (
        Category("dress", "one-piece", "dress"),
        Category("skirt", "bottom", "dress"),
        Category("jumpsuit", "one-piece", "dress"),
        Category("shirt", "top", "shirt"),
        Category("jacket", "outer", "shirt"),
        Category("coat", "outer", "shirt"),
        Category("t-shirt", "top", "toptee"),
        Category("top", "top", "toptee"),
        Category("sweater", "top", "toptee"),
        Category("trousers", "bottom", None),
        Category("shorts", "bottom", None),
        Category("shoes", "shoes", None),
        Category("bag", "bag", None),
        Category("hat", "head", None),
        Category("scarf", "neck", None),
    )
}

_SLEEVED = ("short", "elbow", "three-quarter", "long")
_ANY_SLEEVE = ("sleeveless", "cap", "short", "elbow", "three-quarter", "long")
_DRESS_LENGTHS = ("thigh", "knee", "midi", "maxi")
_COUNTS = (0, 1, 2)

SUBCATEGORIES: dict[str, SubCategory] = {
    s.name: s
    for s in (
        # ---- FashionIQ "dress"
        SubCategory("sheath dress", "dress", {
            "pattern": _BOLD + ("color block", "horizontal stripes"), "fabric": ("cotton", "wool", "satin"),
            "sleeve": _ANY_SLEEVE, "sleeve_style": ("regular",),
            "neckline": ("crew", "v-neck", "scoop", "square", "boat"),
            "length": ("thigh", "knee", "midi"), "fit": ("slim", "regular"), "closure": ("none", "zip"),
            "detail": ("none", "belt"),
        }, 3, ("business", "classic", "party"), silhouette="sheath"),
        SubCategory("a-line dress", "dress", {
            "pattern": _LIGHT + ("animal print",), "fabric": ("cotton", "linen", "satin"), "sleeve": _ANY_SLEEVE,
            "sleeve_style": ("regular", "puff", "bell"), "neckline": ("crew", "v-neck", "scoop", "square", "boat"),
            "length": _DRESS_LENGTHS, "fit": ("regular", "loose"), "detail": ("none", "belt", "bow", "ruffles"),
        }, 2, ("casual", "romantic", "bohemian"), silhouette="a-line"),
        SubCategory("skater dress", "dress", {
            "pattern": _LIGHT, "fabric": ("cotton", "satin", "denim"), "sleeve": ("sleeveless", "cap", "short", "long"),
            "sleeve_style": ("regular",), "neckline": ("crew", "scoop", "sweetheart", "square"),
            "length": ("thigh", "knee"), "detail": ("none", "belt", "bow", "contrast trim"),
        }, 2, ("casual", "party", "romantic"), silhouette="skater"),
        SubCategory("shirt dress", "dress", {
            "pattern": _WOVEN, "fabric": ("cotton", "linen", "denim"), "sleeve": _SLEEVED, "sleeve_style": ("regular",),
            "neckline": ("collar", "band collar"), "length": ("thigh", "knee", "midi"), "fit": ("regular", "loose"),
            "closure": ("buttons",), "buttons": (4, 6, 8), "pockets": (0, 1, 2), "detail": ("none", "belt"),
        }, 2, ("casual", "classic"), silhouette="a-line"),
        SubCategory("slip dress", "dress", {
            "pattern": _BOLD, "fabric": ("satin", "cotton"), "neckline": ("straps", "halter", "sweetheart"),
            "length": _DRESS_LENGTHS, "fit": ("slim", "regular", "loose"), "detail": ("none", "bow", "ruffles", "belt"),
        }, 3, ("party", "romantic"), warmth=0, silhouette="slip"),
        SubCategory("tiered dress", "dress", {
            "pattern": ("solid", "floral", "polka dots", "gingham", "color block"), "fabric": ("cotton", "linen"),
            "sleeve": _ANY_SLEEVE, "sleeve_style": ("puff", "bell", "regular"),
            "neckline": ("v-neck", "square", "scoop", "off-shoulder"), "length": ("knee", "midi", "maxi"),
            "detail": ("none", "belt"),
        }, 1, ("bohemian", "romantic"), silhouette="tiered"),
        SubCategory("pencil skirt", "skirt", {
            "pattern": ("solid", "plaid", "animal print", "vertical stripes", "color block"),
            "fabric": ("wool", "leather", "denim", "cotton"), "length": ("thigh", "knee", "midi"),
            "closure": ("none", "zip", "buttons"), "buttons": (3, 5), "pockets": (0, 2), "detail": ("none", "belt"),
        }, 3, ("business", "classic"), silhouette="pencil"),
        SubCategory("a-line skirt", "skirt", {
            "pattern": _LIGHT + ("plaid",), "fabric": ("cotton", "denim", "corduroy", "linen"),
            "length": _DRESS_LENGTHS, "closure": ("none", "buttons"), "buttons": (4, 6), "pockets": (0, 2),
            "detail": ("none", "belt", "bow", "ruffles"),
        }, 1, ("casual", "romantic"), silhouette="a-line"),
        SubCategory("pleated skirt", "skirt", {
            "pattern": ("solid", "plaid", "floral", "color block", "gingham", "horizontal stripes"),
            "fabric": ("wool", "satin", "cotton"), "length": _DRESS_LENGTHS,
            "detail": ("none", "belt", "contrast trim"),
        }, 2, ("classic", "romantic"), silhouette="pleated"),
        SubCategory("jumpsuit", "jumpsuit", {
            "pattern": _BOLD + ("vertical stripes",), "fabric": ("cotton", "satin", "denim"), "sleeve": _ANY_SLEEVE,
            "sleeve_style": ("regular",), "neckline": ("v-neck", "crew", "square", "scoop"), "fit": FITS,
            "length": ("knee", "midi", "maxi"), "closure": ("none", "zip", "buttons"), "buttons": (3, 5),
            "detail": ("none", "belt"),
        }, 2, ("party", "street"), silhouette="jumpsuit"),
        SubCategory("playsuit", "jumpsuit", {
            "pattern": _LIGHT, "fabric": ("cotton", "linen", "denim"),
            "sleeve": ("sleeveless", "cap", "short", "elbow"),
            "sleeve_style": ("regular", "puff"), "neckline": ("v-neck", "scoop", "square", "crew"),
            "length": ("thigh",), "fit": ("regular", "loose"), "pockets": (0, 2), "detail": ("none", "belt", "bow"),
        }, 1, ("casual", "bohemian"), warmth=0, silhouette="jumpsuit"),
        # ---- FashionIQ "shirt"
        SubCategory("button-down shirt", "shirt", {
            "pattern": _WOVEN + ("color block",), "fabric": ("cotton", "linen", "denim"),
            "sleeve": ("sleeveless", "short", "elbow", "long"), "sleeve_style": ("regular",),
            "neckline": ("collar", "band collar"), "length": ("waist", "hip", "thigh"), "fit": FITS,
            "closure": ("buttons",), "buttons": (3, 5, 7), "pockets": (0, 1, 2), "detail": ("none", "contrast trim"),
        }, 2, ("classic", "casual", "business"), "unisex", silhouette="shirt"),
        SubCategory("polo shirt", "shirt", {
            "pattern": ("solid", "horizontal stripes", "color block", "argyle", "vertical stripes"),
            "fabric": ("cotton", "knit"),
            "sleeve": ("short", "elbow", "long"), "sleeve_style": ("regular",), "neckline": ("collar",),
            "length": ("waist", "hip"), "fit": FITS, "closure": ("buttons",), "buttons": (1, 2, 3),
            "pockets": (0, 1), "detail": ("none", "contrast trim"),
        }, 1, ("sporty", "casual"), "men", silhouette="polo"),
        SubCategory("hawaiian shirt", "shirt", {
            "pattern": ("floral", "animal print", "diagonal stripes", "polka dots", "zigzag"),
            "fabric": ("cotton", "linen"),
            "sleeve": ("short", "elbow"), "sleeve_style": ("regular",), "neckline": ("collar",),
            "length": ("waist", "hip"), "fit": ("regular", "loose"), "closure": ("buttons",), "buttons": (4, 6),
            "pockets": (0, 1, 2),
        }, 0, ("casual", "street"), "men", 0, silhouette="shirt"),
        SubCategory("flannel shirt", "shirt", {
            "pattern": ("plaid", "gingham", "solid"), "fabric": ("wool", "cotton", "corduroy"),
            "sleeve": ("elbow", "long"), "sleeve_style": ("regular",), "neckline": ("collar", "hood"),
            "length": ("hip", "thigh"), "fit": FITS, "closure": ("buttons", "zip"), "buttons": (4, 6),
            "pockets": (0, 1, 2),
        }, 0, ("casual", "street"), "unisex", 2, silhouette="shirt"),
        SubCategory("bomber jacket", "jacket", {
            "pattern": ("solid", "color block", "floral", "animal print", "horizontal stripes"),
            "fabric": ("nylon", "leather", "satin", "wool"), "sleeve": ("long",), "sleeve_style": ("regular",),
            "neckline": ("band collar", "hood", "collar"), "length": ("waist", "hip"),
            "fit": ("slim", "regular", "loose"),
            "closure": ("zip", "buttons"), "buttons": (4, 6), "pockets": (0, 2, 3), "detail": ("none", "contrast trim"),
        }, 0, ("street", "sporty"), "unisex", 2, silhouette="bomber"),
        SubCategory("trucker jacket", "jacket", {
            "pattern": ("solid", "color block", "plaid"), "fabric": ("denim", "corduroy", "leather"),
            "sleeve": ("sleeveless", "three-quarter", "long"), "sleeve_style": ("regular",), "neckline": ("collar",),
            "length": ("cropped", "waist", "hip"), "fit": FITS, "closure": ("buttons",), "buttons": (4, 5, 6),
            "pockets": (0, 2, 4),
        }, 0, ("casual", "street"), "unisex", 2, silhouette="jacket"),
        SubCategory("blazer", "jacket", {
            "pattern": ("solid", "plaid", "vertical stripes", "gingham"),
            "fabric": ("wool", "linen", "satin", "corduroy"),
            "sleeve": ("three-quarter", "long"), "sleeve_style": ("regular",), "neckline": ("lapel",),
            "length": ("waist", "hip", "thigh"), "fit": FITS, "closure": ("buttons",), "buttons": (1, 2, 3),
            "pockets": (0, 2, 3), "detail": ("none", "contrast trim"),
        }, 3, ("business", "classic"), "unisex", 1, silhouette="jacket"),
        SubCategory("puffer jacket", "jacket", {
            "pattern": ("solid", "color block"), "fabric": ("nylon",), "sleeve": ("sleeveless", "long"),
            "sleeve_style": ("regular",), "neckline": ("band collar", "hood"), "length": ("waist", "hip", "thigh"),
            "fit": ("regular", "loose"), "closure": ("zip",), "pockets": (0, 2, 4),
            "detail": ("none", "belt", "contrast trim"),
        }, 0, ("sporty", "casual"), "unisex", 3, silhouette="puffer"),
        SubCategory("overcoat", "coat", {
            "pattern": ("solid", "plaid", "gingham", "color block"), "fabric": ("wool", "cotton", "leather"),
            "sleeve": ("three-quarter", "long"), "sleeve_style": ("regular", "bell"), "neckline": ("lapel", "collar"),
            "length": ("thigh", "knee", "midi"), "fit": FITS, "closure": ("buttons",), "buttons": (2, 3, 4, 5),
            "pockets": (0, 2), "detail": ("none", "belt"),
        }, 3, ("business", "classic"), "unisex", 3, silhouette="coat"),
        SubCategory("parka", "coat", {
            "pattern": ("solid", "color block", "animal print"), "fabric": ("cotton", "nylon"), "sleeve": ("long",),
            "sleeve_style": ("regular",), "neckline": ("hood", "band collar"), "length": ("thigh", "knee"),
            "fit": ("regular", "loose"), "closure": ("zip", "buttons"), "buttons": (4, 6), "pockets": (0, 2, 4),
            "detail": ("none", "belt", "contrast trim"),
        }, 0, ("casual", "sporty"), "unisex", 3, silhouette="coat"),
        # ---- FashionIQ "toptee"
        SubCategory("basic tee", "t-shirt", {
            "pattern": _LIGHT + ("diagonal stripes", "animal print"), "fabric": ("cotton", "linen"),
            "sleeve": ("cap", "short", "elbow", "long"), "sleeve_style": ("regular",),
            "neckline": ("crew", "v-neck", "scoop", "boat"), "length": ("cropped", "waist", "hip", "thigh"),
            "fit": FITS,
            "pockets": (0, 1), "detail": ("none", "contrast trim"),
        }, 0, ("casual", "street"), "unisex", 0, silhouette="tee"),
        SubCategory("graphic tee", "t-shirt", {
            "pattern": ("solid",), "fabric": ("cotton",), "graphic": GRAPHICS,
            "sleeve": ("cap", "short", "elbow", "long"),
            "sleeve_style": ("regular",), "neckline": ("crew", "v-neck", "scoop"),
            "length": ("cropped", "waist", "hip"),
            "fit": FITS, "detail": ("none", "contrast trim"),
        }, 0, ("street", "casual", "sporty"), "unisex", 0, silhouette="tee"),
        SubCategory("tank top", "top", {
            "pattern": _LIGHT + ("animal print",), "fabric": ("cotton", "knit"), "sleeve": ("sleeveless",),
            "neckline": ("crew", "v-neck", "scoop", "square"), "length": ("cropped", "waist", "hip", "thigh"),
            "fit": FITS,
            "pockets": (0, 1), "detail": ("none", "contrast trim", "ruffles"),
        }, 0, ("casual", "sporty"), "unisex", 0, silhouette="tank"),
        SubCategory("camisole", "top", {
            "pattern": _BOLD + ("vertical stripes",), "fabric": ("satin", "cotton"),
            "neckline": ("straps", "sweetheart", "halter"),
            "length": ("cropped", "waist", "hip"), "fit": FITS, "detail": ("none", "bow", "ruffles", "belt"),
        }, 2, ("party", "romantic"), warmth=0, silhouette="slip"),
        SubCategory("blouse", "top", {
            "pattern": _WOVEN + ("animal print",), "fabric": ("satin", "cotton", "linen"),
            "sleeve": ("cap", "short", "elbow", "three-quarter", "long"), "sleeve_style": SLEEVE_STYLES,
            "neckline": ("v-neck", "band collar", "square", "crew", "off-shoulder"), "length": ("waist", "hip"),
            "fit": ("regular", "loose"), "detail": ("none", "bow", "ruffles", "belt"),
        }, 2, ("romantic", "business", "bohemian"), silhouette="blouse"),
        SubCategory("tunic", "top", {
            "pattern": _LIGHT + ("diagonal stripes",), "fabric": ("linen", "cotton"), "sleeve": _ANY_SLEEVE,
            "sleeve_style": ("regular", "bell"), "neckline": ("v-neck", "scoop", "boat", "band collar"),
            "length": ("hip", "thigh", "knee"), "fit": ("regular", "loose"), "pockets": (0, 2),
            "detail": ("none", "belt"),
        }, 1, ("bohemian", "casual"), silhouette="tunic"),
        SubCategory("pullover", "sweater", {
            "pattern": _KNITTED, "fabric": ("knit", "wool"), "sleeve": ("short", "elbow", "three-quarter", "long"),
            "sleeve_style": ("regular", "bell", "puff"), "neckline": ("crew", "v-neck", "turtleneck", "boat"),
            "length": ("cropped", "waist", "hip", "thigh"), "fit": FITS, "detail": ("none", "contrast trim"),
        }, 1, ("casual", "classic"), "unisex", 3, silhouette="sweater"),
        SubCategory("cardigan", "sweater", {
            "pattern": _KNITTED, "fabric": ("knit", "wool"), "sleeve": ("short", "three-quarter", "long"),
            "sleeve_style": ("regular", "bell"), "neckline": ("v-neck", "crew"),
            "length": ("cropped", "waist", "hip", "thigh"),
            "fit": FITS, "closure": ("buttons",), "buttons": (2, 3, 4, 5, 6), "pockets": (0, 2),
            "detail": ("none", "contrast trim", "belt"),
        }, 1, ("classic", "romantic"), "women", 2, silhouette="sweater"),
        SubCategory("hoodie", "sweater", {
            "pattern": ("solid", "color block", "horizontal stripes", "zigzag"), "fabric": ("cotton", "knit"),
            "graphic": GRAPHICS, "sleeve": ("sleeveless", "short", "long"), "sleeve_style": ("regular",),
            "neckline": ("hood",),
            "length": ("cropped", "waist", "hip"), "fit": FITS, "pockets": (0, 1), "detail": ("none", "contrast trim"),
        }, 0, ("sporty", "street"), "unisex", 2, silhouette="sweater"),
        # ---- no FashionIQ name: CIRR tree and later systems
        SubCategory("jeans", "trousers", {
            "pattern": ("solid", "color block"), "fabric": ("denim",), "length": ("midi", "maxi"), "fit": FITS,
            "closure": ("buttons", "zip"), "buttons": (1, 3), "pockets": (2, 4), "detail": ("none", "belt"),
        }, 0, ("casual", "street"), "unisex", silhouette="straight"),
        SubCategory("chinos", "trousers", {
            "pattern": ("solid", "plaid", "vertical stripes", "gingham"),
            "fabric": ("cotton", "linen", "wool", "corduroy"),
            "length": ("midi", "maxi"), "fit": FITS, "pockets": (0, 2, 4), "detail": ("none", "belt", "contrast trim"),
        }, 2, ("classic", "business"), "unisex", silhouette="straight"),
        SubCategory("flared trousers", "trousers", {
            "pattern": _BOLD + ("vertical stripes",), "fabric": ("cotton", "satin", "denim", "corduroy"),
            "length": ("midi", "maxi"), "fit": ("slim", "regular"), "pockets": (0, 2),
            "detail": ("none", "belt", "bow"),
        }, 2, ("bohemian", "party"), silhouette="flared"),
        SubCategory("joggers", "trousers", {
            "pattern": ("solid", "color block", "horizontal stripes"), "fabric": ("cotton", "knit", "nylon"),
            "length": ("knee", "midi", "maxi"), "fit": FITS, "pockets": (0, 2, 4), "detail": ("none", "contrast trim"),
            "closure": ("none", "tie"),
        }, 0, ("sporty",), "unisex", silhouette="joggers"),
        SubCategory("bermuda shorts", "shorts", {
            "pattern": ("solid", "plaid", "gingham", "floral", "vertical stripes"),
            "fabric": ("cotton", "linen", "denim"),
            "length": ("thigh", "knee"), "fit": FITS, "pockets": (0, 2, 4), "detail": ("none", "belt", "contrast trim"),
        }, 1, ("casual", "classic"), "unisex", 0, silhouette="straight"),
        SubCategory("running shorts", "shorts", {
            "pattern": ("solid", "color block", "zigzag", "polka dots", "diagonal stripes"),
            "fabric": ("nylon", "cotton"),
            "length": ("thigh",), "fit": FITS, "pockets": (0, 2), "closure": ("none", "tie"),
            "detail": ("none", "contrast trim", "ruffles"),
        }, 0, ("sporty",), "unisex", 0, silhouette="straight"),
        SubCategory("sneakers", "shoes", {
            "pattern": ("solid", "color block", "diagonal stripes", "gingham"), "fabric": ("cotton", "leather"),
            "heel": ("flat", "low"),
            "closure": ("laces", "none", "buckle"), "detail": ("none", "contrast trim"),
            "graphic": ("none", "star", "wave"),
        }, 0, ("sporty", "street"), "unisex", silhouette="sneaker"),
        SubCategory("ankle boots", "shoes", {
            "pattern": ("solid", "animal print", "color block"), "fabric": ("leather", "corduroy"), "heel": HEELS,
            "closure": ("none", "zip", "laces", "buckle"), "detail": ("none", "contrast trim", "fringe"),
        }, 1, ("classic", "street"), "unisex", 2, silhouette="boot"),
        SubCategory("pumps", "shoes", {
            "pattern": ("solid", "animal print", "polka dots", "color block"), "fabric": ("leather", "satin"),
            "heel": HEELS,
            "closure": ("none", "buckle"), "detail": ("none", "bow", "contrast trim"),
        }, 3, ("party", "business"), silhouette="pump"),
        SubCategory("loafers", "shoes", {
            "pattern": ("solid", "color block", "animal print"), "fabric": ("leather", "cotton"),
            "heel": ("flat", "low"),
            "closure": ("none", "buckle"), "detail": ("none", "tassel", "bow", "contrast trim"),
        }, 2, ("classic", "business"), "unisex", silhouette="loafer"),
        SubCategory("tote bag", "bag", {
            "pattern": _LIGHT + ("animal print",), "fabric": ("cotton", "leather", "linen"), "strap": ("short", "long"),
            "pockets": _COUNTS, "detail": ("none", "tassel", "contrast trim", "bow"),
            "graphic": ("none", "star", "heart", "sun"),
        }, 1, ("casual",), silhouette="tote"),
        SubCategory("backpack", "bag", {
            "pattern": ("solid", "color block", "plaid", "polka dots", "zigzag"),
            "fabric": ("nylon", "leather", "cotton"),
            "pockets": (0, 1, 2), "closure": ("zip", "buckle"), "detail": ("none", "contrast trim", "tassel"),
            "strap": ("short", "long"),
        }, 0, ("sporty", "street"), "unisex", silhouette="backpack"),
        SubCategory("handbag", "bag", {
            "pattern": ("solid", "animal print", "color block", "gingham"), "fabric": ("leather", "satin"),
            "strap": STRAPS,
            "closure": ("buckle", "zip", "none"), "detail": ("none", "tassel", "bow", "contrast trim"),
        }, 3, ("classic", "party"), silhouette="handbag"),
        SubCategory("beanie", "hat", {
            "pattern": _KNITTED, "fabric": ("knit", "wool"), "detail": ("none", "pompom", "contrast trim"),
            "length": ("waist", "hip"),
        }, 0, ("casual", "street"), "unisex", 3, silhouette="beanie"),
        SubCategory("baseball cap", "hat", {
            "pattern": ("solid", "color block", "plaid", "polka dots"), "fabric": ("cotton", "denim", "wool"),
            "graphic": GRAPHICS, "detail": ("none", "contrast trim"),
        }, 0, ("sporty", "street"), "unisex", 0, silhouette="cap"),
        SubCategory("sun hat", "hat", {
            "pattern": ("solid", "horizontal stripes", "gingham", "zigzag"), "fabric": ("linen", "cotton"),
            "detail": ("none", "band", "bow"), "fit": ("slim", "regular", "loose"),
        }, 1, ("romantic", "bohemian"), warmth=0, silhouette="sunhat"),
        SubCategory("long scarf", "scarf", {
            "pattern": ("solid", "horizontal stripes", "plaid", "argyle", "zigzag", "polka dots"),
            "fabric": ("knit", "wool", "linen"), "length": ("hip", "thigh", "knee"),
            "detail": ("none", "fringe", "contrast trim", "pompom"),
        }, 1, ("casual", "classic"), "unisex", 3, silhouette="scarf"),
        SubCategory("bandana", "scarf", {
            "pattern": ("polka dots", "floral", "gingham", "solid", "plaid", "animal print"),
            "fabric": ("cotton", "satin"),
            "detail": ("none", "contrast trim", "fringe"), "length": ("cropped", "waist"),
        }, 1, ("street", "romantic"), "unisex", 0, silhouette="bandana"),
    )
}  # fmt: skip


def luminance(colour: str) -> int:
    """Perceived lightness of a named colour, 0 (black) to 255 (white); Rec. 601 weights in integers."""
    red, green, blue = COLOURS[colour]
    return (299 * red + 587 * green + 114 * blue) // 1000
