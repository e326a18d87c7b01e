"""OGM-GE as a plug-in for your own PyTorch training loop; docs/plugin.md has a complete example."""

from ogmge.config import Modulation
from ogmge.modulation import ModulationStats, Modulator
from ogmge.unimodal import FeatureMeans, unimodal_logits

__all__ = ["FeatureMeans", "Modulation", "ModulationStats", "Modulator", "unimodal_logits"]
