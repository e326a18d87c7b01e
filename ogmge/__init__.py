"""OGM-GE as a plug-in: three names for one's own training loop, and the parts our trials are made of."""

from ogmge.config import Modulation
from ogmge.modulation import ModulationStats, Modulator
from ogmge.unimodal import FeatureMeans, unimodal_logits

__all__ = ["FeatureMeans", "Modulation", "ModulationStats", "Modulator", "unimodal_logits"]
