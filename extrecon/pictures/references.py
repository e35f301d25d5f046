"""The papers that a methods paragraph cites, by what they stand for; regularizers and local resolution by name."""

REFERENCES = {
    "RELION": (
        "Scheres SHW (2012) RELION: implementation of a Bayesian approach to cryo-EM structure "
        "determination. J Struct Biol 180, 519–530."
    ),
    "RELION 3": (
        "Zivanov J et al. (2018) New tools for automated high-resolution cryo-EM structure determination "
        "in RELION-3. eLife 7, e42166."
    ),
    "RELION 4": (
        "Kimanius D et al. (2021) New tools for automated cryo-EM single-particle analysis in RELION-4.0."
        " Biochem J 478, 4169–4185."
    ),
    "RELION 5": (
        "Burt A et al. (2024) An image processing pipeline for electron cryo-tomography in RELION-5. FEBS"
        " Open Bio 14, 1788–1804."
    ),
    "extrecon": "The extrecon developers. extrecon: the regularizer that runs inside RELION (software).",
    "idea": (
        "Ramírez-Aportela E, Carazo JM, Sorzano COS (2022) Higher resolution in cryo-EM by the "
        "combination of macromolecular prior knowledge and image-processing tools. IUCrJ 9, 632–638."
    ),
    "localdeblur": (
        "Ramírez-Aportela E et al. (2020) Automatic local resolution-based sharpening of cryo-EM maps. "
        "Bioinformatics 36, 765–772."
    ),
    "monores": (
        "Vilas JL et al. (2018) MonoRes: automatic and accurate estimation of local resolution for "
        "electron microscopy maps. Structure 26, 337–344."
    ),
    "deepres": (
        "Ramírez-Aportela E et al. (2019) DeepRes: a new deep-learning- and aspect-based local resolution"
        " method for electron-microscopy maps. IUCrJ 6, 1054–1063."
    ),
    "profile": (
        "Bharadwaj A, Jakobi AJ (2022) Electron scattering properties of biological macromolecules and "
        "their use for cryo-EM map sharpening. Faraday Discuss 240, 168–183."
    ),
    "locscale": (
        "Jakobi AJ, Wilmanns M, Sachse C (2017) Model-based local density sharpening of cryo-EM maps. "
        "eLife 6, e27131."
    ),
    "fdr": (
        "Beckers M, Jakobi AJ, Sachse C (2019) Thresholding of cryo-EM density maps by false discovery "
        "rate control. IUCrJ 6, 18–33."
    ),
    "gold": (
        "Scheres SHW, Chen S (2012) Prevention of overfitting in cryo-EM structure determination. Nat "
        "Methods 9, 853–854."
    ),
    "0.143": (
        "Rosenthal PB, Henderson R (2003) Optimal determination of particle orientation, absolute hand, "
        "and contrast loss in single-particle electron cryomicroscopy. J Mol Biol 333, 721–745."
    ),
}

OF_REGULARIZERS = {"profile": ("locscale", "profile"), "fdr-mask": ("fdr",)}
"""Where a regularizer's papers are not under its own name."""
