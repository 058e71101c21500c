"""What papers report as no better, and the auto-decoder, as learners and fields to compare with.

They are experiments, made to be measured beside the published learner: each is known by its name
once this package is imported, and keeps to the fields that the comparison is on.
"""

from neurfield.evaluation.variants.auto_decoder import AutoDecoder
from neurfield.evaluation.variants.contrastive import ContrastiveCavia, supervised_contrastive
from neurfield.evaluation.variants.pyramid import Pyramid, PyramidSiren
from neurfield.evaluation.variants.quantised import QuantisedCavia, QuantisedDescent, quantised

__all__ = [
    "AutoDecoder",
    "ContrastiveCavia",
    "Pyramid",
    "PyramidSiren",
    "QuantisedCavia",
    "QuantisedDescent",
    "quantised",
    "supervised_contrastive",
]
