"""Estimators: each fits one law or regressor to finished runs."""
