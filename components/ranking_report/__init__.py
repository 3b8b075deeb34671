from components.ranking_report.component import RankingReport

__all__ = ["RankingReport"]
