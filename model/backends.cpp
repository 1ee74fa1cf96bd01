#include "model/backends.h"

#include <filesystem>

#include "model/native/native_partition.h"
#include "model/oracle/oracle_partition.h"
#include "model/plugin_loader.h"

namespace troupe {

Result<std::unique_ptr<Partition>> make_partition(std::string_view backend,
                                                  const BackendOptions& options) {
  if (backend == "oracle")
    return std::make_unique<OraclePartition>(
        OracleOptions{.model_seed = options.oracle_seed, .step_time = options.oracle_step});
  if (backend == "native") return std::make_unique<native::NativePartition>();
  if (backend != "torch")
    return fail(
        ErrorCode::invalid_argument,
        "There is no backend named '" + std::string(backend) + "': use native, torch or oracle.",
        "backend");
  std::filesystem::path folder = options.plugin_folder;
  if (folder.empty()) {
    std::error_code error;
    folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
    if (error)
      return fail(ErrorCode::internal,
                  "The folder of the executable cannot be read from "
                  "/proc/self/exe (" +
                      error.message() + "): mount /proc.");
  }
  return load_backend_plugin((folder / "libtroupe_torch.so").string());
}

}  // namespace troupe
