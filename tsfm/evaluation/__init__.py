"""Scoring forecasts: metrics, naive baselines, the GIFT-Eval protocol, reports.

Import the module you need; nothing here loads torch or gluonts before a model is scored.

- `tsfm.evaluation.gift`: `evaluate(model, data)` on GIFT-Eval, beside published models.
- `tsfm.evaluation.classics`: the same scores on a panel of small classic series, for development.
- `tsfm.evaluation.metrics`: MASE, weighted quantile loss and coverage as functions of arrays.
- `tsfm.evaluation.baselines`: seasonal naive and naive, with the `forecast` method of a model.
- `tsfm.evaluation.report`: what an evaluation returns: table, JSON, place among published models.
"""
