"""How damped Gauss–Newton steps are damped and shortened, whichever way they are solved."""

#: Damping of the first step, relative to the mean diagonal of JᵀJ/n.
FIRST_DAMPING = 1e-3

#: Factors on the damping after a step that lowers the objective, and after one that does not.
EASE, STIFFEN = 0.2, 10.0

#: How often a closed form that overshoots is shortened, and by what factor.
SHORTENINGS, SHORTEN = 6, 0.3
