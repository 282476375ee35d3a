# lme4's glmer on the main trials with an alteration: lme4.R FILE default|usable
suppressPackageStartupMessages(library(lme4))

arguments <- commandArgs(trailingOnly = TRUE)
trials <- subset(read.csv(arguments[1]), is_catch == 0 & strength > 0)
trials$log2_strength <- log2(trials$strength)

# logit above a guess rate of .5: mu = .5 + .5 plogis(eta)
edge <- .Machine$double.eps
two_afc <- structure(
  list(
    linkfun = function(mu) qlogis(pmin(pmax(2 * mu - 1, edge), 1 - edge)),
    linkinv = function(eta) .5 + .5 * pmin(plogis(eta), 1 - edge),
    mu.eta = function(eta) pmax(.5 * dlogis(eta), edge),
    valideta = function(eta) TRUE,
    name = "two-alternative logit"
  ),
  class = "link-glm"
)
control <- switch(arguments[2],
  default = glmerControl(),
  usable = glmerControl(optimizer = "nloptwrap", tolPwrss = 1e-10)
)

began <- proc.time()
fit <- glmer(
  correct ~ log2_strength + attack + (1 | participant) + (1 | stimulus),
  data = trials, family = binomial(two_afc), nAGQ = 1, control = control
)
took <- proc.time() - began

our_names <- function(names) sub("^attack(.*)$", "attack[T.\\1]", sub("(Intercept)", "Intercept", names, fixed = TRUE))
errors <- sqrt(diag(as.matrix(vcov(fit))))
spread <- sapply(VarCorr(fit), attr, "stddev")
figures <- c(
  setNames(fixef(fit), our_names(names(fixef(fit)))),
  setNames(errors, paste("SE", our_names(names(fixef(fit))))),
  setNames(spread, paste("SD", names(VarCorr(fit)))),
  "log likelihood" = as.numeric(logLik(fit))
)
peak <- grep("^VmHWM", readLines("/proc/self/status"), value = TRUE)

pairs <- function(names, values) paste0("{", paste(sprintf('"%s": %s', names, values), collapse = ", "), "}")
cat(pairs(
  c("figures", "wall_s", "cpu_s", "peak_mb", "versions"),
  c(
    pairs(names(figures), ifelse(is.finite(figures), sprintf("%.12g", figures), "null")),
    took[["elapsed"]], took[["user.self"]] + took[["sys.self"]], as.numeric(gsub("[^0-9]", "", peak)) / 1024,
    pairs(c("R", "lme4"), sprintf('"%s"', c(as.character(getRversion()), as.character(packageVersion("lme4")))))
  )
), "\n", sep = "")
