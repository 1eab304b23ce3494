"""The page of a study: one HTML file, or the same page served while the study runs.

``facts`` gathers what the rest of the analysis computes (no number is made here a second time), ``sections`` says what
stands where, ``templates`` how it looks, ``figures`` draws, ``writing`` puts it into one file, ``live`` serves it.
"""
