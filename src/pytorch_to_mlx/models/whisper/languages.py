"""The languages that Whisper knows (whisper/tokenizer.py), in the order of their tokens."""

from __future__ import annotations

import re

from pytorch_to_mlx.errors import UsageError

_NAMES = """
en=english zh=chinese de=german es=spanish ru=russian ko=korean fr=french ja=japanese pt=portuguese tr=turkish
pl=polish ca=catalan nl=dutch ar=arabic sv=swedish it=italian id=indonesian hi=hindi fi=finnish vi=vietnamese
he=hebrew uk=ukrainian el=greek ms=malay cs=czech ro=romanian da=danish hu=hungarian ta=tamil no=norwegian
th=thai ur=urdu hr=croatian bg=bulgarian lt=lithuanian la=latin mi=maori ml=malayalam cy=welsh sk=slovak
te=telugu fa=persian lv=latvian bn=bengali sr=serbian az=azerbaijani sl=slovenian kn=kannada et=estonian
mk=macedonian br=breton eu=basque is=icelandic hy=armenian ne=nepali mn=mongolian bs=bosnian kk=kazakh
sq=albanian sw=swahili gl=galician mr=marathi pa=punjabi si=sinhala km=khmer sn=shona yo=yoruba so=somali
af=afrikaans oc=occitan ka=georgian be=belarusian tg=tajik sd=sindhi gu=gujarati am=amharic yi=yiddish lo=lao
uz=uzbek fo=faroese ht=haitian_creole ps=pashto tk=turkmen nn=nynorsk mt=maltese sa=sanskrit lb=luxembourgish
my=myanmar bo=tibetan tl=tagalog mg=malagasy as=assamese tt=tatar haw=hawaiian ln=lingala ha=hausa ba=bashkir
jw=javanese su=sundanese yue=cantonese
"""
_ALSO = """
burmese=my valencian=ca flemish=nl haitian=ht letzeburgesch=lb pushto=ps panjabi=pa moldavian=ro moldovan=ro
sinhalese=si castilian=es mandarin=zh
"""

LANGUAGES = {code: name.replace("_", " ") for code, _, name in (each.partition("=") for each in _NAMES.split())}
"""English names by code."""
CODES = {name: code for code, name in LANGUAGES.items()} | {
    name: code for name, _, code in (each.partition("=") for each in _ALSO.split())
}
"""Codes by name, of which some languages have several."""
UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Those that write no spaces between words."""

_REGION = re.compile("(?:[-_](?:[a-z]{2}|[0-9]{3}|hans|hant))+$")


def known_code(language: str, known: int) -> str | None:
    """The code of a language given by name or code, perhaps with a region, of the first `known`; None if it is none."""
    name = language.lower()
    code = CODES.get(name, _REGION.sub("", name))
    return code if code in list(LANGUAGES)[:known] else None


def language_code(language: str, known: int) -> str:
    """The code of a language given by name or code, of a model that knows the first `known`.

    Raises:
        UsageError: it knows none that is called so.
    """
    code = known_code(language, known)
    if code is None:
        examples = "English only" if known == 1 else f"{known} languages, such as {', '.join(list(LANGUAGES)[:6])}"
        raise UsageError(f"--language {language}: this model knows {examples}")
    return code
