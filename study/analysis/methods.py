"""The methods of a study in the words of a paper, with its numbers filled in and the works cited."""

from collections.abc import Iterator, Mapping
from typing import Any

from study.analysis.equivalence import ALPHA
from study.analysis.paper.blocks import Cite, Code, Paragraph, Strong, Text
from study.analysis.paper.numerals import listed, number, percent, short
from study.analysis.protocols import ADAPTIVE
from study.analysis.psychometric import MEDIAN_PERSON
from study.analysis.references import bibliography


def paragraphs(content: Mapping[str, Any]) -> list[Paragraph]:
    """Design, tests and models of the report's study, one paragraph each. Only what was computed is described."""
    is_adaptive = content["procedure"] == ADAPTIVE
    texts = [_design(content), *([] if is_adaptive else [_detection(content), _claims(content)])]
    texts.append(tuple(_curves(content)))
    texts.append(tuple(_beside(content)))
    texts.append(_plan(content))
    return [Paragraph(text) for text in texts if text]


def cited(content: Mapping[str, Any]) -> set[str]:
    """Keys of the works that the methods cite."""
    return {key for block in paragraphs(content) for part in block.text if isinstance(part, Cite) for key in part.keys}


def markdown(content: Mapping[str, Any]) -> str:
    """methods.md: for pandoc, with citations as [@key] into references.bib."""
    blocks = ["# Methods", *("".join(map(_as_markdown, block.text)) for block in paragraphs(content))]
    marks = [f"> **{mark}**" for mark in _marks(content)]
    references = ["# References", "::: {#refs}\n:::"]
    return "\n\n".join([*marks, *blocks, *references]) + "\n"


def bibtex(content: Mapping[str, Any]) -> str:
    """references.bib: what methods.md cites."""
    return "\n".join(work.bibtex for work in bibliography(cited(content)))


def _marks(content: Mapping[str, Any]) -> list[str]:
    simulated = ["Simulated data: no claim about people."] if content["simulated"] else []
    return simulated + (["Exploratory: departs from the frozen plan."] if content["exploratory"] else [])


_MARKUP = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_{}[]<>#|~^$@"})


def _as_markdown(part: str) -> str:
    if isinstance(part, Cite):
        return f"[{'; '.join(f'@{key}' for key in part.keys)}]"
    if isinstance(part, Code):
        return f"`{part}`"
    text = str(part).translate(_MARKUP)
    return f"**{text.strip()}**" if isinstance(part, Strong) else text


def _cite(*keys: str) -> Text:
    """A blank and the citation of these works."""
    return " ", Cite(" ".join(keys))


def _design(content: Mapping[str, Any]) -> Text:
    flow, protocol, rows = content["flow"], content["protocol"], content["conditions"]
    strengths = [number(s) for s in sorted({row["strength"] for row in rows})]
    attacks = sorted({row["attack"] for row in rows})
    images = max(row["stimuli"] for row in rows)
    people = "simulated observers" if content["simulated"] else "participants"
    left_out = sum(flow["excluded"].values())
    excluded = f" ({left_out} of {flow['recruited']} were left out by rules on whole participants)" if left_out else ""
    kind = "an adaptive (QUEST+) procedure" if content["procedure"] == ADAPTIVE else "constant stimuli"
    title = f"{protocol['title'][0].lower()}{protocol['title'][1:]}"
    text = (
        f"{flow['analysed']} {people}{excluded} gave {flow['trials_analysed']} answers to {title} with {kind}:"
        f" “{protocol['question']}” Chance is .5. Up to {images} base images per"
        f" condition were crossed with {listed(attacks)} at strengths {listed(strengths)}; strength 0 is a pair of"
        f" identical images.{_strength(content.get('setting') or {})}"
    )
    if content["procedure"] == ADAPTIVE:
        return (
            text,
            " Strengths were chosen trial by trial to inform on threshold, slope and lapse",
            *_cite("watson2017"),
            ".",
        )
    return (text,)


def _strength(setting: Mapping[str, Any]) -> str:
    """What the attack is and what its strength means, as far as known."""
    if not setting.get("strength"):
        return ""
    return f" The attack is of the family {setting['family']}; its strength: {setting['strength']}."


def _detection(content: Mapping[str, Any]) -> Text:
    level = percent(content["level"])
    return (
        f"Proportion correct (PC) has {level} Wilson",
        *_cite("wilson1927"),
        " and Clopper-Pearson",
        *_cite("clopper1934"),
        " intervals, which take trials as independent and describe only. All claims rest on a variance that carries"
        " participants and images alike, clustered in two ways",
        *_cite("cameron2011"),
        ", with t on the smaller number of clusters less one, because neither people nor images may be taken as fixed",
        *_cite("clark1973", "judd2012"),
        f". {content['protocol']['dprime']}",
        *_cite("macmillan2005"),
        "; d′ of people with a preference for one answer uses log-linear rates",
        *_cite("hautus1995"),
        ".",
    )


def _claims(content: Mapping[str, Any]) -> Text:
    tested = sum(row["strength"] > 0 for row in content["conditions"])
    bound = content["bound"]
    if content["protocol"]["name"] == "yes_no":
        also: Text = (
            " and two more put d′ within what unbiased people have there, which a rare “altered” cannot bring about,"
            " and where a test given how often each person said “altered” finds no spread between them",
        )
    else:
        also = (" and a test finds no more spread between participants than binomial", *_cite("tarone1979"))
    return (
        f"Detection is a two-sided test of PC against .5 with Holm’s correction over {tested} conditions",
        *_cite("holm1979"),
        f". A condition is below the bound of {short(bound)} only where two one-sided tests at {short(ALPHA)} put PC"
        f" within ({short(1 - bound)}, {short(bound)})",
        *_cite("schuirmann1987"),
        *also,
        ", since people who see the alteration but name the wrong image average to .5; claims rise in strength and stop"
        " at the first failure. A difference that is not significant is never read as absence.",
    )


def _curves(content: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "Thresholds are those of ψ(s) = .5 + (.5 − λ) F(s) for s > 0, with the lapse rate λ estimated from the catch"
        " trials in the same likelihood"
    )
    yield from _cite("wichmann2001", "prins2012")
    if content["procedure"] != ADAPTIVE:
        yield f", and {percent(content['level'])} profile intervals widened for clusters"
        yield from _cite("pace2011")
    yield "."
    if content["models"].get("glmm_lapse", {}).get("converged"):
        yield (
            " The median person’s threshold comes from a generalised linear mixed model with crossed random intercepts"
            f" of participant and image, link {content['models']['glmm_lapse']['link']} above the guess rate"
        )
        yield from _cite("yssaad2006")
        yield (
            ", a slope for each attack and the side of the altered image as a covariate, fitted by the Laplace"
            f" approximation with {content['models']['glmm_lapse']['information']} information"
        )
        yield from _cite(
            "bates2015" if content["models"]["glmm_lapse"]["information"] == "expected" else "kristensen2016"
        )
        yield "."
    elif content["procedure"] == ADAPTIVE and any(row["population"] == MEDIAN_PERSON for row in content["thresholds"]):
        yield (
            " The median person’s threshold comes from a generalised linear mixed model with crossed random intercepts"
            " of participant and image above the guess rate, which holds what the choice of strengths followed."
        )
    if "gee" in content["models"] and content["procedure"] != ADAPTIVE:
        yield " Generalised estimating equations"
        yield from _cite("liang1986")
        if "gee_bias_reduced" in content["models"]:
            yield ", also with a bias-reduced covariance"
            yield from _cite("mancl2001")
        if "betabinomial" in content["models"]:
            yield ", and beta-binomial regression"
            yield from _cite("prentice1986")
        yield ", stand beside as companions."


def _beside(content: Mapping[str, Any]) -> Iterator[str]:
    if content["error_shift"] is not None:
        yield (
            "Detection is regressed on the model’s error shift as it is, with a level of its own for every condition,"
            " and split into the condition’s mean and the deviation from it"
        )
        yield from _cite("mundlak1978")
        yield "; none of these slopes is causal. "
    if content.get("matched_visibility"):
        yield (
            "Where several models were given the same pictures, their error shifts are compared picture by picture, at"
            " one and the same detection. "
        )
    if content.get("stealth_margin"):
        yield (
            "The stealth margin is the strength at which people detect the alteration over the one at which the attack"
            " works"
        )
        if draws := content["stealth_margin"][0]["draws"]:
            yield (
                f", with a bootstrap of {draws} draws over participants, images and the models’ subjects, which is"
                " conservative"
            )
            yield from _cite("owen2007")
        yield ". "
    if (content.get("quality") or {}).get("response_times", {}).get("converged"):
        yield (
            "Log response times of right answers were fitted by a linear mixed model with crossed random intercepts"
            " (REML)."
        )


def _plan(content: Mapping[str, Any]) -> Text:
    sha256 = content["design"]["sha256"]
    if content["exploratory"]:
        return ("This analysis is exploratory: ", "; ".join(content["exploratory"]), ".")
    if not sha256:
        return ("The table came without a study, so no plan was frozen before the answers.",)
    return ("Design and analysis plan were frozen before the first answer, SHA-256 ", Code(sha256), ".")
