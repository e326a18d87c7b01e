"""OGM-GE as a plug-in: three names for one's own training loop, and the parts our trials are made of."""

from ogmge.config import Modulation
from ogmge.modulation import ModulationStats, Modulator, unimodal_logits

__all__ = ["Modulation", "ModulationStats", "Modulator", "unimodal_logits"]
