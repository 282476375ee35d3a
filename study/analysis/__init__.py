"""What the answers say. Rooms, in the order in which a report uses them:

reading     frames (the trial table) · tables (out of the database) · exclusions · protocols · material
detection   detection (d', intervals) · equivalence (tests, verdicts) · controls · adaptive · displacement (units)
curves      likelihood (batched maximum likelihood) · psychometric (pooled curves)
models      laplace, glmm (crossed GLMM) · crossed (those of the report) · betabinomial · lmm · mixed (all regressions)
shift       error_shift · reliability · matched (same pictures, other models)
machine     frontier · machine (thresholds) · people, pigeonhole, censoring (the bootstrap) · margin · machine_observers
quality     quality (response times, order) · checks
planning    power_design (what is asked) · planned (what a study decides) · synthetic (simulated studies) · power
            power_figure
report      report (all numbers) · memory (that arrays give up) · meanings, codebook · tidy (CSV) · paper (the words)
            methods · references · figures · page, pdf, latex · publication, folder (the files)
            compare (several studies)

The numbers know neither Django nor torch. Web processes import the models, meanings, planned, power_design, and pdf
with paper's blocks, by which a preregistration is typeset; none of what calculates or draws.
"""
