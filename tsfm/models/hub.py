"""Find, load and save checkpoints: a folder with `config.json` and `model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.models.config import FORMAT_VERSION, ModelConfig
from tsfm.models.detector_config import DetectorConfig

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm.models.detecting import DetectingNetwork
    from tsfm.models.network import ForecastingNetwork
    from tsfm.tokenizers.scorer import EntropyScorer

DEFAULT_MODEL = "tsfm-mini"
"""Name of the forecaster used when none is given."""

DEFAULT_DETECTOR = "tsfm-detector-mini"
"""Name of the detector used when none is given."""

PRESETS = ("smamba", "spacetime")
"""Models that are trained on the data set they forecast; they have no shipped weights."""

_WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
_SCORER = "entropy-scorer"


@dataclass(frozen=True)
class ModelInfo:
    """A model that came with the package.

    Parameters
    ----------
    name
        What to write as `model=`.
    path
        Its folder.
    n_parameters
        Number of weights.
    summary
        First line of its card.
    task
        "forecast" or "detect".
    """

    name: str
    path: Path
    n_parameters: int
    summary: str
    task: str = "forecast"


@cache
def assets(kind: str) -> Path:
    """Folder of the shipped assets of a kind ("models", "tokenizers", "datasets").

    In an installed package they lie inside it; in a checkout at the root.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "_assets" / kind
    return installed if installed.is_dir() else package.parent / kind


def list_models() -> list[ModelInfo]:
    """The shipped models, by name.

    Examples
    --------
    >>> isinstance(list_models(), list)
    True
    """
    folders = sorted(path.parent for path in assets("models").glob(f"*/{_CONFIG}"))
    return [
        ModelInfo(path.name, path, count_parameters(path), _summary(path), task_of(path))
        for path in folders
    ]


def resolve(name_or_dir: str | Path) -> Path:
    """Folder of a model given by name or path; never touches the network.

    Raises
    ------
    FileNotFoundError
        If there is no such model; the message lists the shipped ones.
    """
    path = Path(name_or_dir)
    for candidate in (assets("models") / str(name_or_dir), path):
        if (candidate / _CONFIG).is_file():
            return candidate
    names = ", ".join(info.name for info in list_models()) or "none"
    hint = f" The folder exists but holds no {_CONFIG}." if path.is_dir() else ""
    raise FileNotFoundError(
        f"No model {str(name_or_dir)!r}.{hint} Shipped models: {names}. "
        "Give one of these names or a folder written by save_pretrained, `tsfm pretrain` or "
        "`tsfm finetune`."
    )


def task_of(folder: Path) -> str:
    """What a saved model answers, "forecast" or "detect"."""
    values: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    return str(values.get("task", "forecast"))


def read_config(folder: Path) -> ModelConfig | DetectorConfig:
    """Configuration of a saved model.

    Raises
    ------
    ValueError
        If the checkpoint was written by a newer version, has unknown keys, or is neither a `TSFM`
        nor a `Detector`.
    """
    values = _read_values(folder)
    if "kind" in values:
        raise ValueError(
            f"{folder} holds a {values['kind']} trained on a data set, not a TSFM; use it with "
            f"Forecaster(model={str(folder)!r}) or tsfm.models.presets.PresetModel."
        )
    if values.get("task") == "detect":
        return DetectorConfig.from_dict(values)
    return ModelConfig.from_dict(values)


def is_preset(folder: Path) -> bool:
    """Whether a folder holds a trained preset (and not a `TSFM`)."""
    return "kind" in json.loads((folder / _CONFIG).read_text(encoding="utf-8"))


def preset_values(folder: Path) -> tuple[str, dict[str, Any]]:
    """Kind of a trained preset and the fields of its configuration.

    Raises
    ------
    ValueError
        If the checkpoint was written by a newer version or is a `TSFM`.
    """
    values = _read_values(folder)
    kind, task = values.pop("kind", None), values.pop("task", None)
    if kind not in PRESETS or task != "forecast":
        raise ValueError(
            f"{folder} holds no trained preset ({', '.join(PRESETS)}); load it with "
            "tsfm.TSFM.from_pretrained."
        )
    return kind, values


def _read_values(folder: Path) -> dict[str, Any]:
    """Entries of `config.json` after the version, which is checked."""
    values: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    version = values.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{folder / _CONFIG} has format_version {version}, this package reads "
            f"{FORMAT_VERSION}. Install the version of the package that wrote it."
        )
    return values


def build_network(
    config: ModelConfig | DetectorConfig, weights_follow: bool = False
) -> ForecastingNetwork | DetectingNetwork:
    """Network of a configuration, for the task that it is of.

    Parameters
    ----------
    config
        Of a forecasting or of a detecting model.
    weights_follow
        Whether saved weights will replace the initial ones.
    """
    from tsfm.models.detecting import DetectingNetwork
    from tsfm.models.network import ForecastingNetwork

    if isinstance(config, DetectorConfig):
        return DetectingNetwork(config, weights_follow)
    return ForecastingNetwork(config, weights_follow)


def load_network(folder: Path) -> ForecastingNetwork | DetectingNetwork:
    """Network of a saved model, on CPU, in evaluation mode.

    Raises
    ------
    RuntimeError
        If weights and configuration do not fit (keys are strict).
    """
    import torch
    from safetensors.torch import load_file

    with torch.random.fork_rng(devices=[]):  # loading must not use up the caller's random numbers
        network = build_network(read_config(folder), weights_follow=True).float()
    network.load_state_dict({k: v.float() for k, v in load_file(folder / _WEIGHTS).items()})
    return network.eval()


def save_network(network: ForecastingNetwork | DetectingNetwork, folder: str | Path) -> None:
    """Write `config.json` and `model.safetensors`, each whole or not at all."""
    values = {"format_version": FORMAT_VERSION, **network.config.to_dict()}
    write_checkpoint(folder, values, network.state_dict())


def save_scorer(scorer: EntropyScorer, folder: str | Path) -> None:
    """Write a scorer of steps as an asset of `tokenizers`: `config.json` and weights."""
    values = {"format_version": FORMAT_VERSION, "kind": _SCORER, **scorer.sizes}
    write_checkpoint(folder, values, scorer.state_dict())


def load_scorer(name_or_dir: str | Path) -> EntropyScorer:
    """Scorer of steps that came with the package, or that `save_scorer` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such scorer; the message lists the shipped ones.
    ValueError
        If the folder holds something else.

    Examples
    --------
    >>> load_scorer("tsfm-entropy").n_bins
    65
    """
    import torch
    from safetensors.torch import load_file

    from tsfm.tokenizers.scorer import EntropyScorer

    shipped = assets("tokenizers")
    for folder in (shipped / str(name_or_dir), Path(name_or_dir)):
        if (folder / _CONFIG).is_file():
            break
    else:
        names = ", ".join(sorted(p.parent.name for p in shipped.glob(f"*/{_CONFIG}"))) or "none"
        raise FileNotFoundError(
            f"No trained tokenizer {str(name_or_dir)!r}. Shipped ones: {names}. Give one of these "
            "names or a folder written by tsfm.training.scorer.train_scorer."
        )
    values = _read_values(folder)
    if values.pop("kind", None) != _SCORER:
        raise ValueError(f"{folder} holds no entropy scorer.")
    with torch.random.fork_rng(devices=[]):
        scorer = EntropyScorer(**values)
    scorer.load_state_dict(load_file(folder / _WEIGHTS))
    return scorer.eval()


def write_checkpoint(
    folder: str | Path, values: dict[str, Any], weights: Mapping[str, Tensor]
) -> None:
    """Write entries of `config.json` and weights, each file whole or not at all."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / (_WEIGHTS + ".part")
    save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, unfinished)
    unfinished.chmod(0o644)  # safetensors writes for the owner alone
    unfinished.replace(folder / _WEIGHTS)
    unfinished = folder / (_CONFIG + ".part")
    unfinished.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / _CONFIG)


def count_parameters(folder: Path) -> int:
    """Number of weights in a saved model, read from the header alone."""
    path = folder / _WEIGHTS
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(size))
    total = 0
    for key, entry in header.items():
        if key != "__metadata__":
            n = 1
            for extent in entry["shape"]:
                n *= extent
            total += n
    return total


def _summary(folder: Path) -> str:
    """First line of prose in the model's card."""
    card = folder / "README.md"
    lines = card.read_text(encoding="utf-8").splitlines() if card.is_file() else []
    prose = [line.strip() for line in lines if line.strip() and line[0] not in "#-|<`"]
    return prose[0] if prose else ""
