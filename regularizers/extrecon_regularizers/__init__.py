"""The regularizers that ship with extrecon; each uses extrecon's public interface alone."""
