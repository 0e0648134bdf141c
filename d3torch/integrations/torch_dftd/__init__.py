"""torch-dftd's calculator, computed by d3torch: by its name, or in place of torch-dftd itself."""

from d3torch.integrations.torch_dftd.calculator import TorchDFTD3Calculator
from d3torch.integrations.torch_dftd.stand_in import install, uninstall

__all__ = ["TorchDFTD3Calculator", "install", "uninstall"]
