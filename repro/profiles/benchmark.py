"""What the profiles of real models share: the paper's prompts and metrics, and how images are made (v1, section 5)."""

from repro.harness.experiment import Column, PromptSet
from repro.harness.profile import Data, Execution, Scorer
from repro.harness.published import NOISE
from repro.harness.systems import HubFile

QUALITY = ("coco", "mjhq")
PROMPT_SETS = (
    PromptSet("coco", "COCO 2014", reported="COCO 2014"),
    PromptSet("mjhq", "MJHQ-30K", reported="MJHQ"),
    PromptSet("geneval", "GenEval", reported="GenEval"),
    PromptSet("diversity", "Four seeds of a prompt"),
)
OPTIONAL_SETS = (PromptSet("parti", "PartiPrompts"),)
IMAGES_PER_SET = 30_000
TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
COLUMNS = (
    Column("pickscore", "PS", better="higher", role="preference", margin=NOISE["pickscore"], digits=3, prompts=QUALITY),
    Column(
        "clipscore", "CS", better="higher", role="text_similarity", margin=NOISE["clipscore"], digits=3, prompts=QUALITY
    ),
    Column(
        "image_reward", "IR", better="higher", role="reward", margin=NOISE["image_reward"], digits=2, prompts=QUALITY
    ),
    Column("fid", "FID", better="lower", role="distribution", margin=NOISE["fid"], digits=1, prompts=QUALITY),
    Column(
        "geneval",
        "GenEval",
        better="higher",
        role="prompt_alignment",
        margin=NOISE["geneval"],
        digits=2,
        prompts=("geneval",),
    ),
    Column("diversity", "Diversity", better="higher", digits=3, of_teacher=True, prompts=("diversity",)),
    Column("fid_inf", "FID, infinite images", better="lower", digits=1, detail=True, prompts=QUALITY),
    Column("kid", "KID", better="lower", digits=4, detail=True, prompts=QUALITY),
    Column("cmmd", "CMMD", better="lower", digits=3, detail=True, prompts=QUALITY),
    Column("fd_dinov2", "FD-DINOv2", better="lower", digits=1, detail=True, prompts=QUALITY),
    Column("hpsv3", "HPSv3", better="higher", digits=1, detail=True, prompts=QUALITY),
    *(
        Column(
            f"geneval_{tag}",
            tag.replace("_", " ").capitalize(),
            better="higher",
            digits=2,
            detail=True,
            prompts=("geneval",),
        )
        for tag in TAGS
    ),
)
CLIP_H = HubFile("laion/CLIP-ViT-H-14-laion2B-s32B-b79K")
# Below the data folder: these are on no hub in the layout that their metrics are defined with.
INCEPTION = HubFile("weights", "pt_inception-2015-12-05-6726825d.pth")
DETECTOR = HubFile("weights/geneval-detector")
GET_INCEPTION = (
    "curl -L --create-dirs -o {folder}/weights/pt_inception-2015-12-05-6726825d.pth "
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
)
CHECKPOINT = "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco"
GET_DETECTOR = (
    "curl -L --create-dirs -o {folder}/weights/mask2former.pth https://download.openmmlab.com/mmdetection/v2.0/"
    f"mask2former/{CHECKPOINT}/{CHECKPOINT}_20220504_001756-743b7d99.pth "
    "&& python -m repro.metrics.geneval.convert {folder}/weights/mask2former.pth {folder}/weights/geneval-detector"
)
SCORERS = (
    Scorer("pickscore", HubFile("yuvalkirstain/PickScore_v1"), QUALITY, settings={"processor": CLIP_H}),
    Scorer("clipscore", CLIP_H, QUALITY, licence="MIT"),
    Scorer(
        "image_reward",
        HubFile("zai-org/ImageReward"),
        QUALITY,
        settings={"tokenizer": HubFile("google-bert/bert-base-uncased")},
        licence="Apache-2.0",
    ),
    Scorer("fid", INCEPTION, QUALITY, settings={"recipe": "swd"}, licence="Apache-2.0", get=GET_INCEPTION),
    Scorer(
        "geneval",
        DETECTOR,
        ("geneval",),
        settings={"colors": HubFile("timm/vit_large_patch14_clip_224.openai")},
        licence="Apache-2.0",
        get=GET_DETECTOR,
    ),
    Scorer("diversity", INCEPTION, ("diversity",), licence="Apache-2.0", get=GET_INCEPTION),
)
OPTIONAL = (
    Scorer("cmmd", HubFile("openai/clip-vit-large-patch14-336"), QUALITY),
    Scorer("fd_dinov2", HubFile("facebook/dinov2-large"), QUALITY, licence="Apache-2.0"),
)
DATA = Data(
    resolution=1024,
    world="repro.worlds.benchmarks:Benchmarks",
    sources=("folder",),
    finished_set="coco",
    finished_images=5_000,
)
EXECUTION = Execution(batch_size=8, dtype="float16", shard_size=64)
