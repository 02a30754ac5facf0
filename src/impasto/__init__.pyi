"""The public names of impasto and the module that each comes from. They are written here and nowhere else."""

from .batch.run import (
    run_batch as run_batch,
)
from .errors import (
    ImpastoError as ImpastoError,
)
from .errors import (
    InterruptedRunError as InterruptedRunError,
)
from .folders.records import (
    read_run as read_run,
)
from .images.files import (
    load_image as load_image,
)
from .images.files import (
    load_picture as load_picture,
)
from .images.files import (
    save_image as save_image,
)
from .images.forms import (
    FileForm as FileForm,
)
from .images.image import (
    Image as Image,
)
from .images.image import (
    Picture as Picture,
)
from .images.image import (
    psnr as psnr,
)
from .images.image import (
    resize as resize,
)
from .modules.preprocess import (
    Preprocess as Preprocess,
)
from .networks.catalogue import (
    open_network as open_network,
)
from .networks.joint import (
    Normalised as Normalised,
)
from .networks.joint import (
    normalise_module as normalise_module,
)
from .networks.joint import (
    normalise_network as normalise_network,
)
from .networks.means import (
    Means as Means,
)
from .networks.means import (
    load_means as load_means,
)
from .networks.means import (
    mean_activations as mean_activations,
)
from .networks.means import (
    normalise as normalise,
)
from .networks.means import (
    save_means as save_means,
)
from .networks.network import (
    Network as Network,
)
from .objectives.criterion import (
    Criterion as Criterion,
)
from .objectives.distances import (
    mean_squared_error as mean_squared_error,
)
from .objectives.distances import (
    normalised_squared_error as normalised_squared_error,
)
from .objectives.objective import (
    Objective as Objective,
)
from .objectives.objective import (
    content as content,
)
from .objectives.objective import (
    prior as prior,
)
from .objectives.objective import (
    style as style,
)
from .objectives.objective import (
    towards as towards,
)
from .objectives.priors import (
    alpha_norm as alpha_norm,
)
from .objectives.priors import (
    out_of_range as out_of_range,
)
from .objectives.priors import (
    total_variation as total_variation,
)
from .objectives.representations import (
    MeanOverPositions as MeanOverPositions,
)
from .objectives.representations import (
    Pointwise as Pointwise,
)
from .objectives.representations import (
    WholeMap as WholeMap,
)
from .objectives.representations import (
    activations as activations,
)
from .objectives.representations import (
    autocorrelation as autocorrelation,
)
from .objectives.representations import (
    channel_moments as channel_moments,
)
from .objectives.representations import (
    gram_matrix as gram_matrix,
)
from .objectives.representations import (
    mean_and_gram as mean_and_gram,
)
from .objectives.terms import (
    Match as Match,
)
from .objectives.terms import (
    Prior as Prior,
)
from .objectives.wasserstein import (
    Wasserstein as Wasserstein,
)
from .objectives.wasserstein import (
    wasserstein_distance as wasserstein_distance,
)
from .objectives.weightmaps import (
    WeightMap as WeightMap,
)
from .pages.comparison import (
    write_comparison as write_comparison,
)
from .pages.run_page import (
    write_report as write_report,
)
from .runs.recorders import (
    Recorder as Recorder,
)
from .runs.start import (
    resume as resume,
)
from .runs.start import (
    run as run,
)
from .runs.stopping import (
    Steering as Steering,
)
from .runs.tracking import (
    Tracking as Tracking,
)
from .sequels.blending import (
    blend as blend,
)
from .sequels.enlarging import (
    enlarge as enlarge,
)
from .sequels.exporting import (
    export as export,
)
from .series.explore import (
    Choices as Choices,
)
from .series.explore import (
    explore as explore,
)
from .study.plan import (
    plan_study as plan_study,
)
from .study.run import (
    run_study as run_study,
)
from .synthesis.composition import (
    Composition as Composition,
)
from .synthesis.inits import (
    covering as covering,
)
from .synthesis.inits import (
    from_image as from_image,
)
from .synthesis.inits import (
    noise as noise,
)
from .synthesis.keeping import (
    Keeping as Keeping,
)
from .synthesis.lbfgs import (
    lbfgs as lbfgs,
)
from .synthesis.loop import (
    Iterate as Iterate,
)
from .synthesis.loop import (
    synthesise as synthesise,
)
from .synthesis.optimisers import (
    Update as Update,
)
from .synthesis.optimisers import (
    adam as adam,
)
from .synthesis.parameterisations import (
    Fourier as Fourier,
)
from .synthesis.parameterisations import (
    Pixels as Pixels,
)
from .synthesis.schedules import (
    Stage as Stage,
)
from .synthesis.schedules import (
    octaves as octaves,
)
from .synthesis.schedules import (
    single as single,
)
from .tasks.painting import (
    transfer as transfer,
)
from .tasks.presets import (
    preset as preset,
)
from .tasks.recipes import (
    amalgamate as amalgamate,
)
from .tasks.recipes import (
    caricature as caricature,
)
from .tasks.recipes import (
    dream as dream,
)
from .tasks.recipes import (
    invert as invert,
)
from .tasks.recipes import (
    maximise as maximise,
)
from .tasks.recipes import (
    reconstruct as reconstruct,
)
from .tasks.recipes import (
    texture as texture,
)
from .tasks.seeing import (
    CaricatureSettings as CaricatureSettings,
)
from .tasks.seeing import (
    DreamSettings as DreamSettings,
)
from .tasks.seeing import (
    MaximiseSettings as MaximiseSettings,
)
from .tasks.settings import (
    AmalgamateSettings as AmalgamateSettings,
)
from .tasks.settings import (
    InvertSettings as InvertSettings,
)
from .tasks.settings import (
    ReconstructSettings as ReconstructSettings,
)
from .tasks.settings import (
    TextureSettings as TextureSettings,
)
from .tasks.settings import (
    TransferSettings as TransferSettings,
)
from .tasks.spec import (
    RunSpec as RunSpec,
)
from .tiles.criterion import (
    bind_tiled as bind_tiled,
)
from .tiles.reading import (
    feature_error as feature_error,
)

__version__: str
from .objectives.objective import (
    neighbours as neighbours,
)
from .objectives.objective import (
    seamless as seamless,
)
from .objectives.similarity import (
    sampled as sampled,
)
from .objectives.similarity import (
    self_similarity as self_similarity,
)
from .objectives.sliced import (
    sliced as sliced,
)
from .objectives.sliced import (
    sliced_wasserstein as sliced_wasserstein,
)
from .units.natural import (
    Faint as Faint,
)
from .units.natural import (
    Natural as Natural,
)
from .units.natural import (
    Phases as Phases,
)
from .units.responses import (
    Channel as Channel,
)
from .units.responses import (
    Direction as Direction,
)
from .units.responses import (
    Everything as Everything,
)
from .units.responses import (
    Exaggeration as Exaggeration,
)
from .units.responses import (
    Unit as Unit,
)
from .units.spectrum import (
    Spectrum as Spectrum,
)
from .units.spectrum import (
    photographic as photographic,
)
from .units.views import (
    Seen as Seen,
)
