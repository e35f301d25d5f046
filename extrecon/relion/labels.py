"""RELION's metadata labels: the keys and columns of its STAR files, by what they mean.

A label is written nowhere else in extrecon.
"""

from __future__ import annotations

# data_external_reconstruct_general, in the STAR file of a call
DATA_REAL = "rlnExtReconsDataReal"
DATA_IMAG = "rlnExtReconsDataImag"
WEIGHT = "rlnExtReconsWeight"
RESULT = "rlnExtReconsResult"
RESULT_STAR = "rlnExtReconsResultStarfile"
TAU2_FUDGE = "rlnTau2FudgeFactor"
DIMENSIONS = "rlnReferenceDimensionality"
CURRENT_SIZE = "rlnCurrentImageSize"

# the same there and in a model or an optimiser file
ORIGINAL_SIZE = "rlnOriginalImageSize"
PADDING_FACTOR = "rlnPaddingFactor"
PIXEL_SIZE = "rlnPixelSize"
PARTICLE_DIAMETER = "rlnParticleDiameter"

# data_external_reconstruct_tau2
SHELL = "rlnSpectralIndex"
REFERENCE_TAU2 = "rlnReferenceTau2"
HALF_MAP_FSC = "rlnGoldStandardFsc"

# data_sampling_general, data_optimiser_general, data_model_general
MODEL_GENERAL = "model_general"
HEALPIX_ORDER = "rlnHealpixOrder"
LOCAL_HEALPIX_ORDER = "rlnAutoLocalSearchesHealpixOrder"
SPLIT_HALVES = "rlnDoSplitRandomHalves"
SOLVENT_MASK = "rlnSolventMaskName"
RESOLUTION = "rlnCurrentResolution"
ACCURACY_ROTATIONS = "rlnOverallAccuracyRotations"
ACCURACY_TRANSLATIONS = "rlnOverallAccuracyTranslationsAngst"
SOLVENT_CORRECTED_FSC = "rlnDoSolventFscCorrection"
SYMMETRY = "rlnSymmetryGroup"
BLUSH = "rlnDoBlush"
GRADIENT = "rlnDoGradientRefine"
LAST_ITERATION = "rlnNumberOfIterations"
AUTO_REFINE = "rlnDoAutoRefine"
CLASSES = "rlnNrClasses"

# data_model_bodies
BODY_IS_FIXED = "rlnBodyKeepFixed"

# data_particles
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst")
ORIGINS_PX = ("rlnOriginX", "rlnOriginY")  # before RELION 3.1, as the next two
DETECTOR_PIXEL_SIZE = "rlnDetectorPixelSize"
DETECTOR_MAGNIFICATION = "rlnMagnification"
MICROGRAPH = "rlnMicrographName"
DEFOCUS_U = "rlnDefocusU"
DEFOCUS_V = "rlnDefocusV"
DEFOCUS_ANGLE = "rlnDefocusAngle"
IMAGE_NAME = "rlnImageName"
HALF_SET = "rlnRandomSubset"
CLASS_NUMBER = "rlnClassNumber"
OPTICS_GROUP = "rlnOpticsGroup"
PHASE_SHIFT = "rlnPhaseShift"
CTF_B_FACTOR = "rlnCtfBfactor"
CTF_SCALE = "rlnCtfScalefactor"
LOG_LIKELIHOOD = "rlnLogLikeliContribution"

# data_optics, beside the group's number
OPTICS_GROUP_NAME = "rlnOpticsGroupName"
VOLTAGE = "rlnVoltage"
SPHERICAL_ABERRATION = "rlnSphericalAberration"
AMPLITUDE_CONTRAST = "rlnAmplitudeContrast"
IMAGE_PIXEL_SIZE = "rlnImagePixelSize"
IMAGE_SIZE = "rlnImageSize"
IMAGE_DIMENSIONALITY = "rlnImageDimensionality"
CTF_PREMULTIPLIED = "rlnCtfDataAreCtfPremultiplied"
ABERRATIONS = ("rlnBeamTiltX", "rlnBeamTiltY", "rlnOddZernike", "rlnEvenZernike")
MAGNIFICATION = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")

# data_model_group_…, or data_model_optics_group_… from RELION 4 on, in a model file
NOISE_POWER = "rlnSigma2Noise"

# data_output_nodes, by which a job of RELION's pipeline tells what it made
NODE_NAME = "rlnPipeLineNodeName"
NODE_TYPE = "rlnPipeLineNodeType"
NODE_TYPE_LABEL = "rlnPipeLineNodeTypeLabel"
