"""Who fits the models of the section `analysing`: ours, statsmodels, R's lme4 and psignifit, all from the same files.

Every fitter is a process of its own with one thread, and prints one line of JSON: {"figures": {name: number}, "wall_s",
"cpu_s", "peak_mb"[, "versions"]}. The seconds are those of the fitting, once the file is read.
"""
