"""``python -m studies doctor``: what would go wrong with a study here, told beforehand in one line each.

``command.py`` chooses the checks, ``finding.py`` is what each of them returns; ``cluster_probe.py`` alone imports Ray,
in a process of its own. Checks take what they judge as arguments, so that a test can describe any machine.
"""
