"""OptList: the first settings of the published list of NAdamW, in the order in which to try them."""

from __future__ import annotations

import numpy as np

from celo.evaluation.grids import Setting

# Of each setting, in this order; nesterov is 0 or 1.
_NAMES = (
    *("learning_rate", "b1", "b2", "eps", "nesterov", "adamw_weight_decay"),
    *("warmup_fraction", "min_learning_rate_mult", "constant_fraction"),
)
_NUMBERS = """
0.0011948335721160095 0.9360043452616368 0.9989497406214962 5.875814422073298e-06 0 0.010141964334059882
  0 0 0.747304046223346
0.4060109803507517 0.9972408031165986 0.9868027286692506 107.85861559302559 1 0.015620239959742821
  2.289161370180122e-05 0 0.3241485833861578
0.0002118527403995637 0.6229650835415205 0.9727800493920264 1.5402357939162808e-07 0 0.05360756231092083
  1.139506043021826e-05 0.0013864545078620433 0.2099310299628817
0.007531482507067026 0.6919155876981923 0.984342979679972 3.592713026359696e-08 0 0.0003059674479201108
  0 0.0009554387155165385 0.4224892293642567
0.05569700266024712 0.9742164724896906 0.999980948972404 4.2139276965284695 0 0.00022331133037191596
  0 0 0.5209910283942752
0.006954992428540949 0.9941177962325759 0.9930455329766189 4.3517153884397565e-07 0 3.142332648519505e-05
  0 0 0.013619134087588858
0.020526066283142113 0.3573051949320971 0.8604303237563932 8.87354819497349e-05 1 0.07217167553538734
  0 1.566669185534864e-05 0.8851679138723282
0.0005950867356750683 0.8912956998774763 0.9998316947284045 1.4834761018841103e-07 1 0.04087020908564961
  0.008212683099401206 0 0.37760078274486286
0.005328687277638261 0.960474459618098 0.9992247804716405 8.665059017026017e-08 1 0.005563237041504353
  0 0 0.17233141309625333
0.0012415879131444274 0.9466569269853439 0.9406663837522827 8.113630827139477e-08 0 7.25772958596056e-05
  0 0.0010075665692423708 0.47695142196433893
"""
_FIRST = np.array(_NUMBERS.split(), np.float64).reshape(-1, len(_NAMES)).tolist()


def optlist(count: int) -> tuple[Setting, ...]:
    """The first ``count`` settings of OptList, 1 to 10, of NAdamW with warm-up and cosine decay.

    Their order was chosen greedily, so that the first N settings do best together over more than a thousand
    tasks. Some of these are tasks of this project's suites: as a baseline the list is tuned on them, and
    `celo.evaluation.grids.nadamw_trials` is the untuned one.

    Returns:
        Hyperparameters by name, as `celo.evaluation.grids.nadamw_trials` has them.

    Raises:
        ValueError: another count.

    Example:
        >>> [round(setting["learning_rate"], 4) for setting in optlist(3)]
        [0.0012, 0.406, 0.0002]

    Source: Metz et al. 2020, Using a thousand optimization tasks to learn hyperparameter search strategies
    (arXiv 2002.11887); the list released with learned_optimization.
    """
    if not 1 <= count <= len(_FIRST):
        raise ValueError(
            f"optlist has {count} settings; expected 1 to {len(_FIRST)}, the published first ones"
        )
    return tuple(
        {**dict(zip(_NAMES, values, strict=True)), "l2_weight_decay": 0.0} for values in _FIRST[:count]
    )
