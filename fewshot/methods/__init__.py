"""Meta-learners, one a file, behind the interface in `fewshot.methods.base`. `build.py` makes one from settings."""

METHODS = {
    "protonet": "fewshot.methods.protonet:ProtoNet",
    "matching": "fewshot.methods.matching:Matching",
    "relation": "fewshot.methods.relation:Relation",
    "r2d2": "fewshot.methods.r2d2:R2D2",
    "metaoptnet": "fewshot.methods.metaoptnet:MetaOptNet",
    "simpleshot": "fewshot.methods.simpleshot:SimpleShot",
    "baseline": "fewshot.methods.baseline:Baseline",
    "baseline++": "fewshot.methods.baseline:BaselinePlusPlus",
    "metabaseline": "fewshot.methods.metabaseline:MetaBaseline",
    "maml": "fewshot.methods.maml:MAML",
    "anil": "fewshot.methods.anil:ANIL",
    "protomaml": "fewshot.methods.protomaml:ProtoMAML",
    "metasgd": "fewshot.methods.metasgd:MetaSGD",
    "maml++": "fewshot.methods.mamlpp:MAMLPlusPlus",
    "learned_optimizer": "fewshot.methods.learned_optimizer:LearnedOptimizer",
    "reptile": "fewshot.methods.reptile:Reptile",
    "nearest_mean": "fewshot.methods.nearest_mean:NearestMean",
    "logistic": "fewshot.methods.logistic:Logistic",
    "ridge": "fewshot.methods.ridge:Ridge",
    "svm": "fewshot.methods.svm:SVM",
    "knn": "fewshot.methods.knn:KNN",
    "tip_adapter": "fewshot.methods.tip_adapter:TipAdapter",
    "auto": "fewshot.methods.auto:Auto",
    "projection": "fewshot.methods.projection:Projection",
}
"""Name -> module:Class. The first is the default. A method is imported when it is chosen, and no other one is."""
