"""The works that the report cites."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Reference:
    """One work. `where`: journal with volume, issue and pages, publisher or conference."""

    key: str
    authors: tuple[str, ...]
    year: int
    title: str
    where: str
    doi: str = ""
    kind: str = "article"

    @property
    def short(self) -> str:
        """As it is cited in a text: "Cameron, Gelbach & Miller 2011", "Bates et al. 2015"."""
        names = [author.split(",")[0] for author in self.authors]
        if len(names) > 3:
            return f"{names[0]} et al. {self.year}"
        joined = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} & {names[-1]}"
        return f"{joined} {self.year}"

    @property
    def full(self) -> str:
        """As it stands in the list of references."""
        doi = f" doi:{self.doi}" if self.doi else ""
        return f"{'; '.join(self.authors)} ({self.year}). {self.title}. {self.where}.{doi}"

    @property
    def bibtex(self) -> str:
        """Its entry of a .bib file (UTF-8, for biber)."""
        venue = {"article": "journal", "book": "publisher", "inproceedings": "booktitle"}[self.kind]
        fields = {
            "author": " and ".join(self.authors),
            "year": str(self.year),
            "title": f"{{{self.title}}}",
            venue: self.where,
            "doi": self.doi,
        }
        lines = [f"  {name} = {{{value.replace('&', chr(92) + '&')}}}" for name, value in fields.items() if value]
        return f"@{self.kind}{{{self.key},\n" + ",\n".join(lines) + "\n}\n"


_ALL = (
    Reference(
        "bates2015",
        ("Bates, D.", "Mächler, M.", "Bolker, B.", "Walker, S."),
        2015,
        "Fitting linear mixed-effects models using lme4",
        "Journal of Statistical Software 67(1), 1–48",
        "10.18637/jss.v067.i01",
    ),
    Reference(
        "cameron2011",
        ("Cameron, A. C.", "Gelbach, J. B.", "Miller, D. L."),
        2011,
        "Robust inference with multiway clustering",
        "Journal of Business & Economic Statistics 29(2), 238–249",
        "10.1198/jbes.2010.07136",
    ),
    Reference(
        "clark1973",
        ("Clark, H. H.",),
        1973,
        "The language-as-fixed-effect fallacy: A critique of language statistics in psychological research",
        "Journal of Verbal Learning and Verbal Behavior 12(4), 335–359",
        "10.1016/S0022-5371(73)80014-3",
    ),
    Reference(
        "clopper1934",
        ("Clopper, C. J.", "Pearson, E. S."),
        1934,
        "The use of confidence or fiducial limits illustrated in the case of the binomial",
        "Biometrika 26(4), 404–413",
        "10.1093/biomet/26.4.404",
    ),
    Reference(
        "hautus1995",
        ("Hautus, M. J.",),
        1995,
        "Corrections for extreme proportions and their biasing effects on estimated values of d′",
        "Behavior Research Methods, Instruments, & Computers 27(1), 46–51",
        "10.3758/BF03203619",
    ),
    Reference(
        "holm1979",
        ("Holm, S.",),
        1979,
        "A simple sequentially rejective multiple test procedure",
        "Scandinavian Journal of Statistics 6(2), 65–70",
    ),
    Reference(
        "judd2012",
        ("Judd, C. M.", "Westfall, J.", "Kenny, D. A."),
        2012,
        "Treating stimuli as a random factor in social psychology: A new and comprehensive solution to a pervasive but"
        " largely ignored problem",
        "Journal of Personality and Social Psychology 103(1), 54–69",
        "10.1037/a0028347",
    ),
    Reference(
        "liang1986",
        ("Liang, K.-Y.", "Zeger, S. L."),
        1986,
        "Longitudinal data analysis using generalized linear models",
        "Biometrika 73(1), 13–22",
        "10.1093/biomet/73.1.13",
    ),
    Reference(
        "macmillan2005",
        ("Macmillan, N. A.", "Creelman, C. D."),
        2005,
        "Detection Theory: A User's Guide, 2nd edition",
        "Lawrence Erlbaum Associates",
        kind="book",
    ),
    Reference(
        "mancl2001",
        ("Mancl, L. A.", "DeRouen, T. A."),
        2001,
        "A covariance estimator for GEE with improved small-sample properties",
        "Biometrics 57(1), 126–134",
        "10.1111/j.0006-341X.2001.00126.x",
    ),
    Reference(
        "mundlak1978",
        ("Mundlak, Y.",),
        1978,
        "On the pooling of time series and cross section data",
        "Econometrica 46(1), 69–85",
        "10.2307/1913646",
    ),
    Reference(
        "nguyen2021",
        ("Nguyen, T. A.", "Tran, A. T."),
        2021,
        "WaNet – Imperceptible warping-based backdoor attack",
        "International Conference on Learning Representations",
        kind="inproceedings",
    ),
    Reference(
        "pace2011",
        ("Pace, L.", "Salvan, A.", "Sartori, N."),
        2011,
        "Adjusting composite likelihood ratio statistics",
        "Statistica Sinica 21(1), 129–148",
    ),
    Reference(
        "prins2012",
        ("Prins, N.",),
        2012,
        "The psychometric function: The lapse rate revisited",
        "Journal of Vision 12(6), 25",
        "10.1167/12.6.25",
    ),
    Reference(
        "schuirmann1987",
        ("Schuirmann, D. J.",),
        1987,
        "A comparison of the two one-sided tests procedure and the power approach for assessing the equivalence of"
        " average bioavailability",
        "Journal of Pharmacokinetics and Biopharmaceutics 15(6), 657–680",
        "10.1007/BF01068419",
    ),
    Reference(
        "tarone1979",
        ("Tarone, R. E.",),
        1979,
        "Testing the goodness of fit of the binomial distribution",
        "Biometrika 66(3), 585–590",
        "10.1093/biomet/66.3.585",
    ),
    Reference(
        "watson2017",
        ("Watson, A. B.",),
        2017,
        "QUEST+: A general multidimensional Bayesian adaptive psychometric method",
        "Journal of Vision 17(3), 10",
        "10.1167/17.3.10",
    ),
    Reference(
        "wichmann2001",
        ("Wichmann, F. A.", "Hill, N. J."),
        2001,
        "The psychometric function: I. Fitting, sampling, and goodness of fit",
        "Perception & Psychophysics 63(8), 1293–1313",
        "10.3758/BF03194544",
    ),
    Reference(
        "zou2008",
        ("Zou, G. Y.", "Donner, A."),
        2008,
        "Construction of confidence limits about effect measures: A general approach",
        "Statistics in Medicine 27(10), 1693–1702",
        "10.1002/sim.3095",
    ),
    Reference(
        "bonett2000",
        ("Bonett, D. G.", "Wright, T. A."),
        2000,
        "Sample size requirements for estimating Pearson, Kendall and Spearman correlations",
        "Psychometrika 65(1), 23–28",
        "10.1007/BF02294183",
    ),
    Reference(
        "fuller1987",
        ("Fuller, W. A.",),
        1987,
        "Measurement Error Models",
        "Wiley",
        kind="book",
    ),
    Reference(
        "kristensen2016",
        ("Kristensen, K.", "Nielsen, A.", "Berg, C. W.", "Skaug, H.", "Bell, B. M."),
        2016,
        "TMB: Automatic differentiation and Laplace approximation",
        "Journal of Statistical Software 70(5), 1–21",
        "10.18637/jss.v070.i05",
    ),
    Reference(
        "laird1978",
        ("Laird, N.",),
        1978,
        "Nonparametric maximum likelihood estimation of a mixing distribution",
        "Journal of the American Statistical Association 73(364), 805–811",
        "10.1080/01621459.1978.10480103",
    ),
    Reference(
        "owen2007",
        ("Owen, A. B.",),
        2007,
        "The pigeonhole bootstrap",
        "The Annals of Applied Statistics 1(2), 386–411",
        "10.1214/07-AOAS122",
    ),
    Reference(
        "prentice1986",
        ("Prentice, R. L.",),
        1986,
        "Binary regression using an extended beta-binomial distribution, with discussion of correlation induced by"
        " covariate measurement errors",
        "Journal of the American Statistical Association 81(394), 321–327",
        "10.1080/01621459.1986.10478275",
    ),
    Reference(
        "yssaad2006",
        ("Yssaad-Fesselier, R.", "Knoblauch, K."),
        2006,
        "Modeling psychometric functions in R",
        "Behavior Research Methods 38(1), 28–41",
        "10.3758/BF03192747",
    ),
    Reference(
        "wilson1927",
        ("Wilson, E. B.",),
        1927,
        "Probable inference, the law of succession, and statistical inference",
        "Journal of the American Statistical Association 22(158), 209–212",
        "10.1080/01621459.1927.10502953",
    ),
)
REFERENCES: Final = {reference.key: reference for reference in _ALL}


def cited(keys: Iterable[str]) -> str:
    """As works are cited together in a text: "(Clark 1973; Judd, Westfall & Kenny 2012)"."""
    return f"({'; '.join(REFERENCES[key].short for key in keys)})"


def bibliography(keys: set[str]) -> list[Reference]:
    """The works with these keys, by author and year. Raises KeyError for a key without a work."""
    return sorted((REFERENCES[key] for key in keys), key=lambda work: (work.authors, work.year))
