"""Named suites of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from celo._core.names import unknown_name
from celo.meta.tasks import META_TRAINING, OURS, TASKS, WORKLOADS, check_name

QUICK = (
    "ImageMLPAE_Digits8_32x16x32_bs64",
    "RNNLM_pydocbytes_Patch16_GRU32_Embed16_bs16",
    "TransformerLM_pydocbytes_Patch32_Dim32_Layers2_bs16",
)
"""Embedded data, minutes: an autoencoder and two language models, none of which is memorised."""

CELO17 = (
    "ImageMLP_FashionMnist_Relu128x128",
    "ImageMLP_Cifar10_128x128x128_LayerNorm_Relu",
    "ImageMLP_Cifar10_128x128x128_Tanh_bs128",
    "Conv_Cifar10_32x64x64",
    "Conv_Cifar10_32x64x64_batchnorm",
    "Conv_Cifar10_32x64x64_layernorm",
    "Conv_Cifar100_32x64x64",
    "VIT_Cifar100_wideshallow",
    "VIT_Cifar100_skinnydeep",
    "TransformerLM_LM1B_MultiRuntime_0",
    "TransformerLM_LM1B_MultiRuntime_2",
    "TransformerLM_LM1B_MultiRuntime_5",
    "ImageMLPAE_Cifar10_128x32x128_bs256",
    "ImageMLPAE_Mnist_128x32x128_bs128",
    "RNNLM_lm1b32k_Patch32_LSTM256_Embed128",
    "RNNLM_wikipediaen32k_Patch32_LSTM256_Embed128",
    "LOpt_AdafacMLPLOpt_FashionMnist_50",
)
"""The evaluation tasks of the Celo paper (arXiv 2501.12670), sections 5.2, 5.3, A.7 and A.8."""

CPU5 = (
    "ImageMLP_FashionMnist_Relu128x128",
    "ImageMLP_Cifar10_128x128x128_LayerNorm_Relu",
    "ImageMLP_Cifar10_128x128x128_Tanh_bs128",
    "ImageMLPAE_Cifar10_128x32x128_bs256",
    "ImageMLPAE_Mnist_128x32x128_bs128",
)
"""The perceptrons of `CELO17` on MNIST, Fashion-MNIST and CIFAR-10."""

CPU = (
    *CPU5,
    "Conv_Cifar10_16_32x64x64",
    "Conv_Cifar10_16_16x32x32_batchnorm_bs64",
    "TransformerLM_tinyshakespearebytes_Patch32_Dim64_Layers2_bs16",
    "RNNLM_pydocbytes_Patch32_GRU64_Embed32_bs16",
    "LOpt_MLPLOpt_FahionMnist_10",
)
"""Ten tasks that two cores train in an evening: `CPU5`, smaller relatives of the others of `CELO17`."""

# Published tasks without an envelope of Adam in the file of 110.
_NOT_IN_110 = (
    "ImageMLP_Cifar10BW8_Relu32",
    "ImageMLP_FashionMnist16_Relu32",
    "ImageMLP_FashionMnist32_Relu32",
    "ImageMLP_Cifar10_256x256_Relu_BS32",
    "ImageMLP_Cifar10_16384x16384_Relu",
    "Conv_Cifar10_8_16x32",
    "Conv_Cifar100_32x64x64_BS32",
    "ESWrapped_1pair_ImageMLP_FashionMnist8_Relu32",
    "ESWrapped_1pair_ImageMLP_Cifar10BW8_Relu32",
)

# Tasks of the file of 110 that no shorter published list names.
_ONLY_IN_110 = (
    "ImageMLP_Cifar100_128x128x128_Relu",
    "ImageMLP_Cifar10_256x256_Relu",
    "ImageMLP_Cifar10_1024x1024_Relu",
    "ImageMLP_Cifar10_4096x4096_Relu",
    "ImageMLP_Cifar10_8192x8192_Relu",
    "Conv_Cifar100_32x64x64_Tanh",
    "VIT_Food101_64_wideshallow",
    "VIT_ImageNet64_wideshallow",
    "LOpt_MLPLOpt_FahionMnist_50",
    "LOpt_MLPLOpt_FahionMnist_100",
    "LOpt_MLPLOpt_Cifar10_16_10",
    "LOpt_MLPLOpt_Cifar10_8_50",
    "LOpt_AdafacMLPLOpt_Cifar10_8_10",
    "LOpt_LearnableAdam_Cifar10_8_200",
    "LOpt_ES4_AdafacMLPLOpt_FashionMnist_20",
    "LOpt_ES4_LOpt_MLPLOpt_FahionMnist_50",
    "LOpt_ES4_LOpt_MLPLOpt_Cifar10_16_10",
)

_OUR_DATA = ("digits", "pydoc", "tiny_shakespeare", "wikitext2_valid")  # datasets of our own tasks


def suites() -> Mapping[str, tuple[str, ...]]:
    """Name to tasks of every suite.

    Beside `QUICK`, `CPU5`, `CPU`, `WORKLOADS` and `CELO17`, of the tasks that learned_optimization publishes
    for VeLO (arXiv 2211.09760):

    - velodrome: all but those of celo17;
    - velodrome110: the keys of its published envelopes of Adam. The paper counts 109 tasks and lists none;
    - velodrome84: those of the 110 that one of the shorter published lists names: the 67 of its fixed
      evaluation set, the 75 keys of its first file of envelopes, celo17. The paper counts 83.

    Excluded: tasks for meta-training and meta-validation, and tasks on the 1% of data that upstream reads by
    mistake.
    """
    velodrome = tuple(
        name
        for name, entry in TASKS.items()
        if name not in (*CELO17, *META_TRAINING, *OURS)
        and entry.dataset not in _OUR_DATA
        and not name.endswith("_upstream1percent")
    )
    with_envelope = tuple(
        name
        for name in TASKS
        if name in (*CELO17, *velodrome)
        and name not in _NOT_IN_110
        and not name.startswith("LOptPES_")
        and "Quadratic" not in name
    )
    listed = tuple(
        name for name in with_envelope if name not in _ONLY_IN_110 and not name.startswith("MLPMixer_")
    )
    more = {"velodrome84": listed, "velodrome110": with_envelope}
    ours = {"quick": QUICK, "cpu5": CPU5, "cpu": CPU, "workloads": WORKLOADS}
    return MappingProxyType({**ours, "celo17": CELO17, "velodrome": velodrome, **more})


def tasks_of(suite: str | None, names: Sequence[str] = ()) -> tuple[str, ...]:
    """The tasks of a suite, or of a list of names, in order and each once.

    Args:
        suite: name of a suite, or names of tasks separated by commas; None if names are given.
        names: names of tasks, or ``module:object`` for a user's own; empty if a suite is given.

    Raises:
        ValueError: an unknown suite or task, with the nearest names; both or neither given; or a suite with
            tasks that this version does not have.

    Example:
        >>> tasks_of("cpu")[0]
        'ImageMLP_FashionMnist_Relu128x128'
    """
    if (suite is None) == (not names):
        raise ValueError("give either a suite or names of tasks" + (", not both" if names else ""))
    known = suites()
    if suite is not None and suite not in known:
        names = [name.strip() for name in suite.split(",") if name.strip()]
        if "," not in suite and suite not in TASKS and ":" not in suite:
            raise unknown_name("suite", suite, known)
        suite = None
    if suite is None:
        for name in names:
            check_name(name)
        return tuple(dict.fromkeys(names))
    absent = [name for name in known[suite] if name not in TASKS]
    if absent:
        raise ValueError(f"the suite {suite} has tasks that this version lacks: {', '.join(absent)}")
    return known[suite]
