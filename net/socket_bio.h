// OpenSSL's bytes over a non-blocking socket without SIGPIPE when the peer is gone (OpenSSL's own
// BIO writes plainly, and not every process of a test ignores the signal).
#pragma once

struct bio_st;

namespace troupe {

/// Does not own the socket. The caller or the SSL object that takes it frees it.
bio_st* socket_bio(int socket);

}  // namespace troupe
