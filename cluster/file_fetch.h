// How one node comes to one model file: the one its config names, or a copy of its own that it
// fetched from another node; either counts only once all of its bytes had the digest that the
// config asks for. Decides what is looked at, which peer is asked and when again; the shell
// (net/file_store) reads, hashes and transfers. Pure.
//
// A transfer goes into a part, which outlives broken connections and restarts and is gone on with
// from its end. A part whose digest is wrong is deleted and begun anew, once; then people are told
// and it is tried again after kFileWrongRetry. When no peer can help all are asked again, after
// kFileRetryFirst doubling to kFileRetryMax.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/ids.h"
#include "config/limits.h"
#include "config/result.h"

namespace troupe {

enum class FilePlace : uint8_t {
  source,  ///< where the config says
  copy,    ///< fetched and verified
  part,    ///< fetched as far as it came
};

/// Why a peer does not send a file; the numbers are those of the wire (net/file_frame.h).
enum class FileRefusal : uint8_t {
  unknown = 1,  ///< no model of its config has this digest, or the file is not there
  unchecked,    ///< a file is there, and its digest is being computed
  busy,         ///< it sends to others
  past_end,     ///< the file is shorter than what was asked to be left out
};
inline constexpr uint8_t kFileRefusals = 4;

struct FileFetchConfig {
  Digest digest{};
  std::string source;              ///< path, for people
  std::vector<std::string> peers;  ///< other nodes, in the order in which they are asked
  int64_t bytes_max = kModelFileBytesMax;
};

namespace fetch_in {
/// A rank waits for the file; answered by Ready, whenever that is.
struct Want {};
/// A peer asked for it: what is here should be known. Nothing is fetched for that.
struct Asked {};
/// The answer to Check. Without a digest `error` says why: not_found, or what is wrong.
struct Checked {
  FilePlace place = FilePlace::source;
  std::optional<Digest> digest;
  Error error;
};
/// What Check asked for has to be read, all of it; Checked follows.
struct Reading {
  FilePlace place = FilePlace::source;
  int64_t bytes = 0;
};
/// The peer begins to send. `size` is that of the whole file, `from` how much of it is here.
struct Answered {
  uint64_t size = 0, from = 0;
};
struct Refused {
  FileRefusal why{};
};
/// So much of the file is in the part now.
struct Came {
  uint64_t total = 0;
};
/// The connection came to nothing, or ended before the file did; the shell has closed it.
struct Broken {
  std::string why;
};
/// This node can't write what comes; the shell has closed the connection.
struct Stuck {
  Error error;
};
/// The part is the copy now, on disk.
struct Kept {};
struct Tick {};
}  // namespace fetch_in
using FetchInput =
    std::variant<fetch_in::Want, fetch_in::Asked, fetch_in::Checked, fetch_in::Reading,
                 fetch_in::Answered, fetch_in::Refused, fetch_in::Came, fetch_in::Broken,
                 fetch_in::Stuck, fetch_in::Kept, fetch_in::Tick>;

namespace fetch_out {
/// Find out the digest of what lies there. Answered by Checked, perhaps after a Reading.
struct Check {
  FilePlace place = FilePlace::source;
};
/// Dial that peer and ask for all that the part lacks.
struct Ask {
  std::string peer;
};
/// Close the connection; nothing of it is told any more.
struct HangUp {};
/// Make the part the copy. Answered by Kept or Stuck.
struct Keep {};
/// Delete it.
struct Discard {
  FilePlace place = FilePlace::part;
};
/// Who waits may use what lies there.
struct Ready {
  FilePlace place = FilePlace::source;
};
/// What is waited for, for the tree: a clause.
struct Tell {
  std::string what;
};
/// For the log: something is wrong on this node, though the file is there.
struct Warn {
  std::string what;
};
}  // namespace fetch_out
using FetchEffect =
    std::variant<fetch_out::Check, fetch_out::Ask, fetch_out::HangUp, fetch_out::Keep,
                 fetch_out::Discard, fetch_out::Ready, fetch_out::Tell, fetch_out::Warn>;
using FetchEffects = std::vector<FetchEffect>;

class FileFetch {
 public:
  explicit FileFetch(FileFetchConfig config);

  void step(Time now, const FetchInput& input, FetchEffects& out);
  std::optional<Time> deadline() const;
  void check() const;

 private:
  enum class State : uint8_t {
    idle,       ///< nobody waits; what is here may be known
    checking,   ///< `place_`
    asking,     ///< a peer was dialled
    receiving,  ///< it sends
    keeping,
    waiting,  ///< until `due_`, then all is looked at again
  };
  void begin(FetchEffects& out);
  void look(FilePlace place, FetchEffects& out);
  void on_checked(Time now, const fetch_in::Checked& checked, FetchEffects& out);
  void on_part(Time now, const fetch_in::Checked& checked, FetchEffects& out);
  void on_answered(Time now, const fetch_in::Answered& answered, FetchEffects& out);
  void on_came(Time now, uint64_t total, FetchEffects& out);
  void use(FilePlace place, FetchEffects& out);
  void ask_all(Time now, FetchEffects& out);
  void ask_next(Time now, FetchEffects& out);
  void failed(Time now, const std::string& why, FetchEffects& out);
  void wrong_part(Time now, const std::string& why, FetchEffects& out);
  void wait(Time now, const std::string& why, Duration at_least, FetchEffects& out);
  void tell(std::string what, FetchEffects& out);
  void tell_progress(Time now, FetchEffects& out);
  const std::string& peer() const { return config_.peers[peer_]; }

  FileFetchConfig config_;
  State state_ = State::idle;
  FilePlace place_ = FilePlace::source;
  bool wanted_ = false;
  std::string not_here_;     ///< what is wrong with the source
  bool other_here_ = false;  ///< the source is another file
  size_t peer_ = 0;          ///< the one that is asked, or was last
  size_t asked_ = 0;         ///< in this round
  std::string said_;         ///< by those that were
  uint64_t size_ = 0, total_ = 0;
  int wrong_parts_ = 0;  ///< since somebody waits
  Duration back_off_ = kFileRetryFirst;
  Time due_{}, tell_at_{};
  std::string told_;
};

}  // namespace troupe
