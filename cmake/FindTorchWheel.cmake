# libtorch out of the PyPI wheel unpacked by scripts/setup. Never find_package(Torch): it needs a CUDA toolkit.
# -idirafter because the wheel ships its own old protobuf and fmt headers, which must lose to the system's.
find_path(TorchWheel_INCLUDE_DIR ATen/ATen.h PATHS "${TROUPE_DEPS}/torch/torch/include" NO_DEFAULT_PATH)
foreach(_lib c10 torch_cpu)
  find_library(TorchWheel_${_lib} ${_lib} PATHS "${TROUPE_DEPS}/torch/torch/lib" NO_DEFAULT_PATH)
endforeach()
if(EXISTS "${TROUPE_DEPS}/torch/torch/version.py")
  file(STRINGS "${TROUPE_DEPS}/torch/torch/version.py" _v REGEX "^__version__")
  string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" TorchWheel_VERSION "${_v}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TorchWheel VERSION_VAR TorchWheel_VERSION
  REQUIRED_VARS TorchWheel_INCLUDE_DIR TorchWheel_torch_cpu TorchWheel_c10)
if(TorchWheel_FOUND AND NOT TARGET torch::cpu)
  set(_i "${TorchWheel_INCLUDE_DIR}")
  add_library(torch::c10 SHARED IMPORTED)
  set_target_properties(torch::c10 PROPERTIES IMPORTED_LOCATION "${TorchWheel_c10}")
  add_library(torch::cpu SHARED IMPORTED)
  set_target_properties(torch::cpu PROPERTIES IMPORTED_LOCATION "${TorchWheel_torch_cpu}"
    INTERFACE_COMPILE_OPTIONS "SHELL:-idirafter ${_i};SHELL:-idirafter ${_i}/torch/csrc/api/include"
    INTERFACE_LINK_LIBRARIES torch::c10)
endif()
