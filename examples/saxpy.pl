#!/usr/bin/perl
# perl saxpy.pl /jax: a conversation from Perl, with pack and unpack as the only codec.
use strict;
use warnings;

open(my $call, '+<:raw', "$ARGV[0]/programs/saxpy/call.raw") or die "$ARGV[0]: $!";
syswrite($call, pack('f<8', 1, 2, 3, 4, 10, 20, 30, 40)) == 32 or die "write: $!";
sysread($call, my $reply, 16) == 16 or die "read: $!";
print join(' ', map { sprintf '%.1f', $_ } unpack('f<4', $reply)), "\n";
