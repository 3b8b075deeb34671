from components.feature_join.component import FeatureJoin, feature_config

__all__ = ["FeatureJoin", "feature_config"]
