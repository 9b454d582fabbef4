"""Words, faces, paper and wear: what rendered lines and pages are made of.

Every sample has a random generator of its own, seeded by the set's seed and the sample's number, so that a set is the
same each time, its beginning does not depend on its length, and sets of different seeds share no sample.  Other
versions of Pillow and FreeType may draw other pixels.
"""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageFont

SYSTEM_FONTS = Path("/usr/share/fonts/truetype/dejavu")
INK_TO_PAPER = 70
"""Least difference in brightness, of 255."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CAPITALS = LETTERS.upper()
DIGITS = "0123456789"
WORDS = """
about above account across action address after again against agreement air all amount and annual answer any
application area article average back balance bank basis before begin below between black blood board body book border
bread bridge bring building business call card carry case cash centre certain chance change charge church city clear
client close cloth cold college colour come common company condition contact control copy cost country course cover
credit current customer dark date day deal decision degree delivery demand department design detail development device
different direct discount distance door double down draft early earth east edge education effect energy engine english
entrance every example exchange exit expert family farm field figure file final finger fire first fish floor flower food
force form forward free friend front fruit full garden general glass gold good government grass great green ground group
half hand harbour head health heart heavy help here high hill history holiday home hospital hotel hour house idea import
income index industry interest invoice iron island issue item journey judge key kitchen knowledge label land language
large last late law learn left letter level library light limit line list little local long machine main manager map
march market material measure meeting member message metal method middle mile milk minute model money month morning
mother mountain museum music name nation natural near network new next night noise normal north note number object
ocean offer office old only open operation opinion option order other page paid paper park part party password payment
people period person phone picture place plan plant play point police policy port position post power present press
price print private problem process product profit project property public purpose quality quarter question quick rail
rain rate reading receipt record red region report request rest result return right river road room rule safety sale
salt school science season second secret section sentence series service shape ship shop short side sign silver simple
single size sky small snow society solution sound south space special speed spring square staff stage standard start
state station statement steel still stock stone stop store storm story street strong subject sugar summer supply
surface system table tax team technical telephone test thank theory ticket time title today together tomorrow total
touch tower town track trade traffic train transfer travel tree true under union unit university until upper user
valley value version very view village voice volume wall warm warning waste watch water weather week weight welcome
west wheel white wide wind window winter woman wood word work world write year yellow young zone
""".split()


def generators(seed: int, count: int) -> Iterator[np.random.Generator]:
    """One generator a sample."""
    return (np.random.default_rng([seed, number]) for number in range(count))


def find_fonts(folder: Path | None = None) -> tuple[Path, ...]:
    """The TrueType and OpenType files of a folder; by default the DejaVu faces of the system, or matplotlib's.

    FileNotFoundError where there are none.
    """
    if folder is not None:
        found = [path for path in folder.iterdir() if path.suffix.lower() in {".ttf", ".otf"}]
    else:
        matplotlib = find_spec("matplotlib")
        own = [Path(matplotlib.origin).parent / "mpl-data/fonts/ttf"] if matplotlib and matplotlib.origin else []
        folders = [place for place in (SYSTEM_FONTS, *own) if place.is_dir()]
        found = [path for path in folders[0].glob("DejaVuS*.ttf") if "Display" not in path.name] if folders else []
    if not found:
        raise FileNotFoundError(f"no fonts in {folder or SYSTEM_FONTS}; give a folder with .ttf files by --fonts")
    return tuple(sorted(found))


@cache
def font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """A face in a size, in pixels."""
    return ImageFont.truetype(path, size)


def word(rng: np.random.Generator) -> str:
    """A word as it is, with a capital or in capitals; or a number, a code, a date."""
    kind = rng.random()
    if kind < 0.72:
        plain = str(rng.choice(WORDS))
        return [plain, plain.capitalize(), plain.upper()][rng.choice(3, p=[0.55, 0.3, 0.15])]
    if kind < 0.82:
        return "".join(rng.choice(list(DIGITS), rng.integers(2, 7)))
    if kind < 0.92:
        return "".join(rng.choice(list(CAPITALS + LETTERS + DIGITS), rng.integers(3, 9)))
    if kind < 0.96:
        return f"{rng.integers(1, 29):02}.{rng.integers(1, 13):02}.{rng.integers(1950, 2030)}"
    return f"${rng.integers(1, 1000)}.{rng.integers(0, 100):02}"


def sentence(rng: np.random.Generator, words: int) -> str:
    """Words with a mark here and there."""
    marks = rng.choice(["", ",", ".", ":", "?", "!"], words, p=[0.8, 0.08, 0.06, 0.02, 0.02, 0.02])
    return " ".join(word(rng) + mark for mark in marks)


def colours(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ink and paper: one time in six light on dark, the paper seldom quite white, the ink seldom quite black."""
    while True:
        ink, paper = rng.integers(0, 140, 3), rng.integers(130, 256, 3)
        if rng.random() < 0.5:
            ink, paper = np.repeat(ink[:1], 3), np.repeat(paper[:1], 3)
        if abs(float(paper.mean()) - float(ink.mean())) >= INK_TO_PAPER:
            break
    pair = (tuple(map(int, ink)), tuple(map(int, paper)))
    return pair if rng.random() > 1 / 6 else (pair[1], pair[0])


def worn(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The image a little out of focus, unevenly lit, and grainy; each now and then."""
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 1.0))))
    pixels = np.asarray(image, np.float32)
    if rng.random() < 0.4:
        height, width = pixels.shape[:2]
        across, down = rng.uniform(-0.2, 0.2, 2)
        light = 1 + across * np.linspace(-1, 1, width)[None, :] + down * np.linspace(-1, 1, height)[:, None]
        pixels = pixels * light[:, :, None].astype(np.float32)
    if rng.random() < 0.6:
        pixels = pixels + rng.normal(0, rng.uniform(1, 12), pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
