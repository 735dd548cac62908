"""The types that a model file may hold. Static and ours: nothing in a file, a setting or a project adds to it.

Exact names only, by the way they are made when a file is read. A type belongs here when making it and setting
its attributes runs no code that the file chooses. Some of scikit-learn's types are read by compiled code that trusts
their content: those are here because ``structure`` checks the content before the model is used.
"""

from __future__ import annotations


def _names(listing: str, prefix: str = "") -> frozenset[str]:
    """``module: Name Name`` a line."""
    found: set[str] = set()
    for line in listing.strip().splitlines():
        module, _, names = line.strip().partition(": ")
        found.update(f"{prefix}{module}.{name}" for name in names.split())
    return frozenset(found)


ESTIMATORS = _names(
    """
    calibration: CalibratedClassifierCV _CalibratedClassifier _SigmoidCalibration _TemperatureScaling
    cluster._agglomerative: FeatureAgglomeration
    cluster._bisect_k_means: BisectingKMeans
    cluster._kmeans: KMeans MiniBatchKMeans
    compose._column_transformer: ColumnTransformer make_column_selector
    compose._target: TransformedTargetRegressor
    covariance._elliptic_envelope: EllipticEnvelope
    covariance._empirical_covariance: EmpiricalCovariance
    covariance._graph_lasso: GraphicalLasso GraphicalLassoCV
    covariance._robust_covariance: MinCovDet
    covariance._shrunk_covariance: LedoitWolf OAS ShrunkCovariance
    cross_decomposition._pls: CCA PLSCanonical PLSRegression PLSSVD
    decomposition._factor_analysis: FactorAnalysis
    decomposition._fastica: FastICA
    decomposition._incremental_pca: IncrementalPCA
    decomposition._kernel_pca: KernelPCA
    decomposition._nmf: MiniBatchNMF NMF
    decomposition._pca: PCA
    decomposition._sparse_pca: MiniBatchSparsePCA SparsePCA
    decomposition._truncated_svd: TruncatedSVD
    discriminant_analysis: LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis
    dummy: DummyClassifier DummyRegressor
    ensemble._bagging: BaggingClassifier BaggingRegressor
    ensemble._forest: ExtraTreesClassifier ExtraTreesRegressor RandomForestClassifier RandomForestRegressor
    ensemble._forest: RandomTreesEmbedding
    ensemble._gb: GradientBoostingClassifier GradientBoostingRegressor
    ensemble._hist_gradient_boosting.binning: _BinMapper
    ensemble._hist_gradient_boosting.gradient_boosting: HistGradientBoostingClassifier
    ensemble._hist_gradient_boosting.gradient_boosting: HistGradientBoostingRegressor
    ensemble._hist_gradient_boosting.predictor: TreePredictor
    ensemble._iforest: IsolationForest
    ensemble._stacking: StackingClassifier StackingRegressor
    ensemble._voting: VotingClassifier VotingRegressor
    ensemble._weight_boosting: AdaBoostClassifier AdaBoostRegressor
    feature_extraction._dict_vectorizer: DictVectorizer
    feature_extraction._hash: FeatureHasher
    feature_extraction.text: TfidfTransformer
    feature_selection._from_model: SelectFromModel
    feature_selection._rfe: RFE RFECV
    feature_selection._sequential: SequentialFeatureSelector
    feature_selection._univariate_selection: GenericUnivariateSelect SelectFdr SelectFpr SelectFwe SelectKBest
    feature_selection._univariate_selection: SelectPercentile
    feature_selection._variance_threshold: VarianceThreshold
    frozen._frozen: FrozenEstimator
    gaussian_process._gpc: GaussianProcessClassifier _BinaryGaussianProcessClassifierLaplace
    gaussian_process._gpr: GaussianProcessRegressor
    gaussian_process.kernels: CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation Matern
    gaussian_process.kernels: PairwiseKernel Product RBF RationalQuadratic Sum WhiteKernel
    impute._base: MissingIndicator SimpleImputer
    impute._iterative: IterativeImputer
    impute._knn: KNNImputer
    isotonic: IsotonicRegression
    kernel_approximation: AdditiveChi2Sampler Nystroem PolynomialCountSketch RBFSampler SkewedChi2Sampler
    kernel_ridge: KernelRidge
    linear_model._base: LinearRegression
    linear_model._bayes: ARDRegression BayesianRidge
    linear_model._coordinate_descent: ElasticNet ElasticNetCV Lasso LassoCV MultiTaskElasticNet
    linear_model._coordinate_descent: MultiTaskElasticNetCV MultiTaskLasso MultiTaskLassoCV
    linear_model._glm.glm: GammaRegressor PoissonRegressor TweedieRegressor
    linear_model._huber: HuberRegressor
    linear_model._least_angle: Lars LarsCV LassoLars LassoLarsCV LassoLarsIC
    linear_model._logistic: LogisticRegression LogisticRegressionCV
    linear_model._omp: OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV
    linear_model._passive_aggressive: PassiveAggressiveClassifier PassiveAggressiveRegressor
    linear_model._perceptron: Perceptron
    linear_model._quantile: QuantileRegressor
    linear_model._ransac: RANSACRegressor
    linear_model._ridge: Ridge RidgeCV RidgeClassifier RidgeClassifierCV
    linear_model._stochastic_gradient: SGDClassifier SGDOneClassSVM SGDRegressor
    linear_model._theil_sen: TheilSenRegressor
    mixture._bayesian_mixture: BayesianGaussianMixture
    mixture._gaussian_mixture: GaussianMixture
    model_selection._classification_threshold: FixedThresholdClassifier TunedThresholdClassifierCV
    model_selection._search: GridSearchCV RandomizedSearchCV
    model_selection._split: GroupKFold GroupShuffleSplit KFold LeaveOneGroupOut LeaveOneOut LeavePGroupsOut
    model_selection._split: LeavePOut PredefinedSplit RepeatedKFold RepeatedStratifiedKFold ShuffleSplit
    model_selection._split: StratifiedGroupKFold StratifiedKFold StratifiedShuffleSplit TimeSeriesSplit
    multiclass: OneVsOneClassifier OneVsRestClassifier OutputCodeClassifier _ConstantPredictor
    multioutput: ClassifierChain MultiOutputClassifier MultiOutputRegressor RegressorChain
    naive_bayes: BernoulliNB CategoricalNB ComplementNB GaussianNB MultinomialNB
    neighbors._classification: KNeighborsClassifier RadiusNeighborsClassifier
    neighbors._graph: KNeighborsTransformer RadiusNeighborsTransformer
    neighbors._nca: NeighborhoodComponentsAnalysis
    neighbors._nearest_centroid: NearestCentroid
    neighbors._regression: KNeighborsRegressor RadiusNeighborsRegressor
    neighbors._unsupervised: NearestNeighbors
    neighbors._ball_tree: BallTree
    neighbors._kd_tree: KDTree
    neural_network._multilayer_perceptron: MLPClassifier MLPRegressor
    neural_network._rbm: BernoulliRBM
    neural_network._stochastic_optimizers: AdamOptimizer SGDOptimizer
    pipeline: FeatureUnion Pipeline
    preprocessing._data: Binarizer KernelCenterer MaxAbsScaler MinMaxScaler Normalizer PowerTransformer
    preprocessing._data: QuantileTransformer RobustScaler StandardScaler
    preprocessing._discretization: KBinsDiscretizer
    preprocessing._encoders: OneHotEncoder OrdinalEncoder
    preprocessing._function_transformer: FunctionTransformer
    preprocessing._label: LabelBinarizer LabelEncoder MultiLabelBinarizer
    preprocessing._polynomial: PolynomialFeatures SplineTransformer
    preprocessing._target_encoder: TargetEncoder
    random_projection: GaussianRandomProjection SparseRandomProjection
    semi_supervised._label_propagation: LabelPropagation LabelSpreading
    semi_supervised._self_training: SelfTrainingClassifier
    svm._classes: LinearSVC LinearSVR NuSVC NuSVR OneClassSVM SVC SVR
    tree._classes: DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor
    """,
    "sklearn.",
)

PARTS = _names(
    """
    _loss.link: HalfLogitLink IdentityLink Interval LogLink LogitLink MultinomialLogit
    _loss.loss: AbsoluteError ExponentialLoss HalfBinomialLoss HalfGammaLoss HalfMultinomialLoss HalfPoissonLoss
    _loss.loss: HalfSquaredError HalfTweedieLoss HalfTweedieLossIdentity HuberLoss PinballLoss
    metrics._scorer: _CurveScorer _MultimetricScorer _PassthroughScorer _Scorer
    utils._metadata_requests: MetadataRequest MethodMetadataRequest
    metrics._dist_metrics: CanberraDistance64 ChebyshevDistance64 EuclideanDistance64 HammingDistance64
    metrics._dist_metrics: HaversineDistance64 ManhattanDistance64 MinkowskiDistance64
    metrics._dist_metrics: EuclideanDistance32 ManhattanDistance32 MinkowskiDistance32
    """,
    "sklearn.",
)

HELD = "fullcircle.runtimes.boosters.held.Held"
"""The place of a booster of XGBoost or LightGBM: bytes that are checked before anything is made of them."""

OBJECTS = ESTIMATORS | PARTS | frozenset({"scipy.interpolate._bsplines.BSpline", HELD})

LOSSES = _names(
    """
    _loss._loss: CyAbsoluteError CyExponentialLoss CyHalfBinomialLoss CyHalfGammaLoss CyHalfMultinomialLoss
    _loss._loss: CyHalfPoissonLoss CyHalfSquaredError CyHalfTweedieLoss CyHalfTweedieLossIdentity CyHuberLoss
    _loss._loss: CyPinballLoss
    linear_model._sgd_fast: EpsilonInsensitive Hinge ModifiedHuber SquaredEpsilonInsensitive SquaredHinge
    """,
    "sklearn.",
)

UFUNCS = _names(
    """
    numpy: absolute arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil cos cosh deg2rad degrees exp exp2 expm1
    numpy: fabs floor isfinite isinf isnan log log10 log1p log2 negative positive rad2deg radians reciprocal rint
    numpy: sign sin sinh sqrt square tan tanh trunc
    """
)

FUNCTIONS = (
    UFUNCS
    | _names(
        """
        feature_selection._univariate_selection: chi2 f_classif f_regression r_regression
        feature_selection._mutual_info: mutual_info_classif mutual_info_regression
        metrics._classification: accuracy_score balanced_accuracy_score brier_score_loss f1_score jaccard_score
        metrics._classification: log_loss matthews_corrcoef precision_score recall_score
        metrics._ranking: average_precision_score roc_auc_score top_k_accuracy_score
        metrics._regression: d2_absolute_error_score explained_variance_score max_error mean_absolute_error
        metrics._regression: mean_absolute_percentage_error mean_gamma_deviance mean_poisson_deviance
        metrics._regression: mean_squared_error mean_squared_log_error median_absolute_error r2_score
        metrics._regression: root_mean_squared_error root_mean_squared_log_error
        """,
        "sklearn.",
    )
    | frozenset({"scipy._lib.array_api_compat.numpy._aliases.asarray"})
)

SCALARS = _names(
    """
    numpy: bool bool_ float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64
    numpy: complex64 complex128 str_ datetime64 timedelta64
    """
)

TYPES = frozenset({f"builtins.{name}" for name in ("str", "int", "float", "bool", "object")}) | SCALARS

BIT_GENERATORS = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})

SPARSE = frozenset(
    f"scipy.sparse._{kind}.{kind}_{form}"
    for kind in ("csr", "csc", "coo", "bsr", "dia")
    for form in ("matrix", "array")
)

PARTIAL = "sklearn.utils.validation.check_array"
"""The one function that ``functools.partial`` may hold: histogram gradient boosting checks its numbers with it."""

PARTIAL_WORDS = frozenset({"dtype", "ensure_all_finite", "force_all_finite"})

BY_LOADER = {
    "DictNode": frozenset({"builtins.dict", "collections.OrderedDict", "sklearn.utils._bunch.Bunch"}),
    "ListNode": frozenset({"builtins.list"}),
    "SetNode": frozenset({"builtins.set"}),
    "TupleNode": frozenset({"builtins.tuple", "sklearn.impute._iterative._ImputerTriplet"}),
    "BytesNode": frozenset({"builtins.bytes"}),
    "SliceNode": frozenset({"builtins.slice"}),
    "JsonNode": frozenset({"builtins.str"}),
    "TypeNode": TYPES,
    "FunctionNode": FUNCTIONS,
    "PartialNode": frozenset({"functools.partial"}),
    "ObjectNode": OBJECTS,
    "LossNode": LOSSES,
    "TreeNode": frozenset({"sklearn.tree._tree.Tree"}),
    "NdArrayNode": SCALARS | frozenset({"numpy.ndarray"}),
    "MaskedArrayNode": frozenset({"numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"}),
    "DTypeNode": frozenset({"numpy.dtype"}),
    "RandomStateNode": frozenset({"numpy.random.mtrand.RandomState"}),
    "RandomGeneratorNode": frozenset({"numpy.random._generator.Generator"}),
    "SparseMatrixNode": SPARSE,
}
"""Which types each kind of node may make. A kind that is not here (methods, operators, reduce calls) is refused."""
