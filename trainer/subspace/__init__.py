"""What one factor of variation (a rotation, a shift, ...) does to the codes of an encoder.

Everything starts from *sweeps*: one image (an *anchor*) rendered at every value of one factor while the
others stay put, and encoded. Differences between codes then belong to that factor alone and to one image;
differences between neighbours in a data set would mix factors and images.

What to expect. A code is equivariant if each change of the factor acts on it linearly, z(theta + delta) =
M_delta z(theta). For rotations such a code splits into frequencies k, each of which needs **two dimensions
times its multiplicity**, not two dimensions in all: four rotating feature pairs at k = 1 and two at k = 2
fill 2 * 4 + 2 * 2 = 12. So a spectrum of differences that drops after two directions is a sign of *one* pair with
the same phase and amplitude for every image; its absence is no sign against equivariance. Smooth inputs
concentrate such a spectrum by themselves. No fixed share such as 95 % is therefore meaningful: compare with the same
number for raw pixels and for the untrained encoder (``baselines`` of :func:`trainer.subspace.summary.summary`).

Modules: ``sweep`` (input and its rules), ``spectra``, ``overlap``, ``variance``, ``harmonics``, ``circle``,
``trajectories``, ``operators``, ``rates``, ``names`` (of metrics) and ``summary`` (all of it at once). ``layers`` is
about no sweep: what white-box layers do to the tokens of ordinary sequences.
"""
