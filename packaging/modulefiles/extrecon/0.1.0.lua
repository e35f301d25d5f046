-- An environment module for Lmod. Copy it to a folder of MODULEPATH, as extrecon/VERSION.lua, and say where extrecon is:
--
--   python3 -m venv /opt/extrecon/0.1.0 && /opt/extrecon/0.1.0/bin/pip install extrecon
--
-- Its programs are linked from a folder of their own, so that the environment's python does not become the user's:
--
--   mkdir /opt/extrecon/0.1.0/programs
--   ln -s ../bin/extrecon ../bin/extrecon-hook /opt/extrecon/0.1.0/programs

local base = pathJoin("/opt/extrecon", myModuleVersion())

help([[
extrecon: the regularizer that runs inside RELION.

RELION calls it for each reconstruction where its command has --external_reconstruct. Another regularizer than
cnn: export EXTRECON_REGULARIZER=NAME; `extrecon regularizers` lists them, `extrecon doctor` looks around.
]])
whatis("Name: extrecon")
whatis("Version: " .. myModuleVersion())
whatis("Description: the regularizer that runs inside RELION")

prepend_path("PATH", pathJoin(base, "programs"))
setenv("RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE", pathJoin(base, "programs", "extrecon-hook"))
