// Where a test may break a rule on purpose: it sits between the machines and the world and changes
// what one of them is told or says. The mutants of sim_mutants_test.cpp show that the checkers
// would notice.
#pragma once

#include <string>

#include "cluster/batcher.h"
#include "cluster/node_supervisor.h"
#include "cluster/router.h"

namespace troupe::sim {

struct Tamper {
  virtual ~Tamper() = default;
  virtual void config(RouterConfig&) {}
  virtual void to_router(RouterInput&) {}
  virtual void from_router(RouterEffects&) {}
  virtual void to_batcher(const BatcherConfig&, BatcherInput&) {}
  virtual void from_batcher(BatcherEffects&) {}
  virtual void to_node(const std::string& /*node*/, NodeInput&) {}
  virtual void from_node(NodeEffects&) {}
};

}  // namespace troupe::sim
