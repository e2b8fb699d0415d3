package main

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	imageName = "image"
	imageNode = 2
	// Requests under way on one disk; more than a loop device sends.
	backgroundMax = 256
	writeMax      = 1 << 20
	forever       = 24 * time.Hour
)

// image is a file system with one file, which is the disk. Each disk is one of its own, so that one that hangs holds up
// nothing but itself. Nothing is cached: what the kernel writes arrives here before it is answered.
type image struct {
	fuse.RawFileSystem
	disk *disk
}

// export mounts the disk as `folder`/image. The server ends when the folder is unmounted.
func export(d *disk, folder string) (*fuse.Server, error) {
	server, err := fuse.NewServer(image{fuse.NewDefaultRawFileSystem(), d}, folder, &fuse.MountOptions{
		DirectMountStrict: true,
		MaxBackground:     backgroundMax,
		MaxWrite:          writeMax,
		DisableXAttrs:     true,
		DisableSplice:     true,
		// Without it the kernel sends one request after the other.
		ExtraCapabilities: fuse.CAP_ASYNC_DIO,
		FsName:            "disk",
		Name:              "disk",
	})
	if err != nil {
		return nil, err
	}
	go server.Serve()
	return server, server.WaitMount()
}

func (i image) attributes(node uint64, out *fuse.Attr) fuse.Status {
	switch node {
	case fuse.FUSE_ROOT_ID:
		*out = fuse.Attr{Ino: node, Mode: syscall.S_IFDIR | 0o755, Nlink: 2}
	case imageNode:
		*out = fuse.Attr{Ino: node, Mode: syscall.S_IFREG | 0o600, Nlink: 1, Size: uint64(i.disk.size), Blksize: pageBytes}
	default:
		return fuse.ENOENT
	}
	return fuse.OK
}

func (i image) Lookup(_ <-chan struct{}, parent *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if parent.NodeId != fuse.FUSE_ROOT_ID || name != imageName {
		return fuse.ENOENT
	}
	out.NodeId, out.Generation = imageNode, 1
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	return i.attributes(imageNode, &out.Attr)
}

func (i image) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(forever)
	return i.attributes(in.NodeId, &out.Attr)
}

func (i image) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	// Times may be set, and are forgotten; the size is that of the disk.
	if size, is := in.GetSize(); is && size != uint64(i.disk.size) {
		return fuse.EINVAL
	}
	out.SetTimeout(forever)
	return i.attributes(in.NodeId, &out.Attr)
}

func (i image) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.NodeId != imageNode {
		return fuse.EINVAL
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES
	return fuse.OK
}

func (i image) Read(_ <-chan struct{}, in *fuse.ReadIn, into []byte) (fuse.ReadResult, fuse.Status) {
	offset := int64(in.Offset)
	into = into[:max(0, min(int64(len(into)), i.disk.size-offset))]
	if errno := i.disk.read(offset, into); errno != 0 {
		return nil, fuse.Status(errno)
	}
	return fuse.ReadResultData(into), fuse.OK
}

func (i image) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if int64(in.Offset)+int64(len(data)) > i.disk.size {
		return 0, fuse.Status(syscall.ENOSPC)
	}
	if errno := i.disk.write(int64(in.Offset), data); errno != 0 {
		return 0, fuse.Status(errno)
	}
	return uint32(len(data)), fuse.OK
}

// Fallocate is how the loop device discards and writes zeros.
func (i image) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	length := min(int64(in.Length), i.disk.size-int64(in.Offset))
	return fuse.Status(i.disk.zero(int64(in.Offset), length))
}

func (i image) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fuse.Status(i.disk.flush())
}

// Flush comes when somebody closes the file: it makes nothing durable.
func (i image) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	return fuse.OK
}

func (i image) StatFs(_ <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{Bsize: pageBytes, Frsize: pageBytes, NameLen: 255}
	return fuse.OK
}
