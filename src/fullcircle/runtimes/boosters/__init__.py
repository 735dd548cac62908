"""Models of XGBoost and LightGBM as text that is checked before a native parser sees any of it."""
