#include "cluster/hello_rules.h"

#include <fmt/format.h>

namespace troupe {

Result<void> judge_hello(const Hello& hello, const HelloTerms& terms) {
  const auto refuse = [](std::string why) {
    return fail(ErrorCode::invalid_argument, std::move(why));
  };
  if (hello.cluster != terms.cluster)
    return refuse(fmt::format("it belongs to cluster {}, this is {}: give it this cluster's config",
                              hello.cluster, terms.cluster));
  if (hello.wire_version != terms.wire_version)
    return refuse(
        fmt::format("it speaks wire version {}, this is {}: run one release of troupe on both",
                    hello.wire_version, terms.wire_version));
  if (terms.role && hello.role != *terms.role)
    return refuse(
        fmt::format("process {} is a {}, and here a {} is expected: look for two "
                    "processes of one name",
                    hello.process, name_of(hello.role), name_of(*terms.role)));
  if (hello.incarnation == Incarnation() ||
      (terms.incarnation && hello.incarnation != *terms.incarnation))
    return refuse("it is not the process that was started here: end it");
  if (hello.build != terms.build)
    return refuse(fmt::format("it is build {}, this is {}: restart both from one build",
                              hello.build, terms.build));
  if (terms.config_digest && hello.config_digest != *terms.config_digest)
    return refuse("its config differs from this node's: start the node anew with one config");
  return {};
}

}  // namespace troupe
