#include "model/plugin_loader.h"

#include <dlfcn.h>

namespace troupe {

Result<std::unique_ptr<Partition>> load_backend_plugin(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    return fail(ErrorCode::not_found, "The backend plugin " + path + " cannot be loaded (" +
                                          dlerror() + "): run scripts/setup and build again.");
  const auto* plugin = static_cast<const BackendPlugin*>(dlsym(library, "troupe_backend"));
  if (plugin == nullptr)
    return fail(ErrorCode::unsupported,
                path +
                    " is not a backend plugin of troupe: it has no symbol troupe_backend; name "
                    "a libtroupe_<backend>.so.");
  if (plugin->abi != kBackendAbi)
    return fail(ErrorCode::unsupported, "The backend plugin " + path + " was built for ABI " +
                                            std::to_string(plugin->abi) + ", this program needs " +
                                            std::to_string(kBackendAbi) +
                                            ": build both from the same source.");
  std::unique_ptr<Partition> partition(plugin->make());
  if (partition == nullptr)
    return fail(ErrorCode::internal,
                "The backend plugin " + path + " could not start: there may be too little memory.");
  return partition;
}

}  // namespace troupe
