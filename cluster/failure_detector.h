// Silence -> suspect -> dead, by fixed times (on a LAN a phi detector is ruled by its own
// constants, and fixed numbers can be tested). Pure; owned by the health actor.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/ids.h"
#include "config/limits.h"

namespace troupe {

enum class Verdict : uint8_t { alive, suspect, dead };
std::string_view name_of(Verdict verdict);

namespace detector_in {
/// Watch a peer from now on; silence counts from here. A new incarnation replaces the old one.
struct Watch {
  std::string peer;
  Incarnation incarnation;
};
/// Known to be gone (its parent reaped it): no verdict any more.
struct Forget {
  std::string peer;
  Incarnation incarnation;
};
struct Beat {
  std::string peer;
  Incarnation incarnation;
};
/// How late this process's own loop ran. Above kSelfDoubtLag it extends all timeouts by as much,
/// until the next one or until a silence so extended would have been noticed.
struct OwnLag {
  Duration lag{};
};
struct Tick {};
}  // namespace detector_in
using DetectorInput = std::variant<detector_in::Watch, detector_in::Forget, detector_in::Beat,
                                   detector_in::OwnLag, detector_in::Tick>;

/// A verdict changed, or the first beat since Watch came (alive: whoever judged from an earlier
/// watch hears that it is over). `dead` is final for the incarnation.
struct DetectorEffect {
  std::string peer;
  Incarnation incarnation;
  Verdict verdict = Verdict::alive;
  Duration silence{};
};

/// A step that comes later than deadline() by more than kSelfDoubtLag means that this process
/// slept: nobody is judged in it, and the time slept counts as nobody's silence. What peers said
/// meanwhile waits in the inbox and is heard first.
class FailureDetector {
 public:
  explicit FailureDetector(double timing_scale) : scale_(timing_scale) {}

  void step(Time now, const DetectorInput& input, std::vector<DetectorEffect>& out);
  std::optional<Time> deadline() const;

  /// nullopt: not watched.
  std::optional<Verdict> verdict(const std::string& peer) const;
  void check() const;

 private:
  struct Peer {
    Incarnation incarnation;
    Time heard{};
    Verdict verdict = Verdict::alive;
    bool heard_once = false;
  };
  void own_sleep(Duration slept);
  Duration suspect_after() const;
  Duration dead_after() const;
  void judge(Time now, std::vector<DetectorEffect>& out);

  double scale_;
  Duration own_lag_{};
  Time own_lag_until_{};
  std::optional<Time> stepped_;  ///< the latest step
  bool slept_ = false;           ///< nobody was judged in it
  std::map<std::string, Peer> peers_;
};

}  // namespace troupe
