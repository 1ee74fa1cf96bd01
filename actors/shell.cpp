#include "actors/shell.h"

#include <unistd.h>

#include "actors/log.h"

namespace troupe {

void die_on_exception(caf::scheduled_actor* self, const char* actor) {
  self->set_exception_handler([actor](caf::scheduled_actor*,
                                      std::exception_ptr& thrown) -> caf::error {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
      log_event(LogLevel::error, "an actor failed", {{"actor", actor}, {"error", error.what()}});
    } catch (...) {
      log_event(LogLevel::error, "an actor failed", {{"actor", actor}});
    }
    ::_exit(70);
  });
}

}  // namespace troupe
