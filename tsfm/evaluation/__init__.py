"""Scoring forecasts and anomaly scores: metrics, baselines, protocols, reports.

Import the module you need; nothing here loads torch or gluonts before a model is scored.

Forecasts:

- `tsfm.evaluation.gift`: `evaluate(model, data)` on GIFT-Eval, beside published models.
- `tsfm.evaluation.classics`: the same scores on a panel of small classic series, for development.
- `tsfm.evaluation.metrics`: MASE, weighted quantile loss and coverage as functions of arrays.
- `tsfm.evaluation.baselines`: seasonal naive and naive, with the `forecast` method of a model.
- `tsfm.evaluation.report`: what an evaluation returns: table, JSON, place among published models.

Anomalies:

- `tsfm.evaluation.tsb`: `evaluate(detector, data, protocol=...)` on TSB-AD, beside published ones.
- `tsfm.evaluation.nab`: the NAB score, with its three profiles.
- `tsfm.evaluation.anomaly_metrics`: VUS-PR and the other measures as functions of arrays.
- `tsfm.evaluation.anomaly_ranges`: the F-measures among them that see anomalies as ranges.
- `tsfm.evaluation.anomaly_baselines`: Sub-PCA, absolute differences and other controls.
- `tsfm.evaluation.anomaly_report`: what an evaluation on TSB-AD returns.
"""
