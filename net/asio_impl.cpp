// The one place where Asio and Beast are compiled (BOOST_*_SEPARATE_COMPILATION is set for all of
// net/).
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>
