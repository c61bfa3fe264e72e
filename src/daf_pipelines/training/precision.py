"""What a processor makes of half precision."""

import logging

import torch

from daf_pipelines.parameters import PhaseParams

LOG = logging.getLogger(__name__)
# Of x86 processors with AVX-512 or AMX, and of ARM ones.
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 numbers itself."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in BFLOAT16)


def warn_of_emulation(name: str, params: PhaseParams, device: torch.device) -> None:
    """Say at the start of phase ``name`` that bfloat16 will be slower than float32 here."""
    if params.precision == "bfloat16" and device.type == "cpu" and not has_bfloat16():
        LOG.warning(
            "%s: precision: bfloat16 is emulated on this processor, which has none of %s: expect "
            "it to be slower than float32. Set precision: float32, or train on a GPU.",
            name,
            ", ".join(BFLOAT16),
        )
