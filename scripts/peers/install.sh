#!/bin/sh
# Installs what `koala bench` compares with into a virtual environment: .venv here, or the folder that is named.
#   scripts/peers/install.sh [DIR]          diffusers and OpenVINO
#   scripts/peers/install.sh [DIR] --sdcpp  stable-diffusion.cpp too, which is compiled here: a C++ compiler, ten minutes
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=.venv
sdcpp=no
for word in "$@"; do
  case $word in
    --sdcpp) sdcpp=yes ;;
    -*) echo "install.sh: expected --sdcpp or a folder, got $word" >&2; exit 2 ;;
    *) folder=$word ;;
  esac
done
[ -x "$folder/bin/python" ] || python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet -r "$here/requirements.txt"
if [ "$sdcpp" = yes ]; then
  CMAKE_ARGS="-DGGML_NATIVE=ON" "$folder/bin/python" -m pip install --quiet --no-binary stable-diffusion-cpp-python stable-diffusion-cpp-python==0.4.7
fi
"$folder/bin/python" "$here/versions.py"
echo "koala bench --python $folder/bin/python (not needed for .venv in this folder)"
